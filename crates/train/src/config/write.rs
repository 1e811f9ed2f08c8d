//! Converts a config to JSON in the field order of the wire (`docs/wire-format.md §2.1`). Absent values are written as `null`.

use super::{Build, Creator, HexText, Id, RouteStop, Source, SourceKind, StopSignature, TrainConfig};
use crate::json::Json;

pub(super) fn to_json(config: &TrainConfig) -> Json {
    object([
        ("source", source(&config.source)),
        ("creator", creator(&config.creator)),
        ("proposal_id", id(&config.proposal_id)),
        ("@id", text(&config.id)),
        ("@context", config.context.clone()),
        ("session_id", hex(&config.session_id)),
        ("route", Json::Array(config.route.iter().map(stop).collect())),
        ("file_list", Json::Array(config.file_list.iter().map(|name| text(name)).collect())),
        ("hash", hex(&config.hash)),
        ("signature", hex(&config.signature)),
        ("build", build(&config.build)),
        ("result_hash", or_null(config.result_hash.as_ref(), hex)),
        ("result_signature", or_null(config.result_signature.as_ref(), hex)),
    ])
}

fn source(source: &Source) -> Json {
    let kind = match source.kind {
        SourceKind::DockerRepository => "docker_repository",
        SourceKind::GitRepository => "git_repository",
    };
    object([
        ("type", text(kind)),
        ("address", text(&source.address)),
        ("tag", or_null(source.tag.as_deref(), text)),
        ("branch", or_null(source.branch.as_deref(), text)),
    ])
}

fn creator(creator: &Creator) -> Json {
    object([
        ("id", id(&creator.id)),
        ("rsa_public_key", hex(&creator.rsa_public_key)),
        ("paillier_public_key", or_null(creator.paillier_public_key.as_ref(), id)),
        ("encrypted_key", or_null(creator.encrypted_key.as_ref(), hex)),
    ])
}

fn stop(stop: &RouteStop) -> Json {
    let eco_system = stop.eco_system.name();
    object([
        ("station", id(&stop.station)),
        ("eco_system", text(eco_system)),
        ("rsa_public_key", hex(&stop.rsa_public_key)),
        ("index", Json::Int(stop.index.into())),
        ("signature", or_null(stop.signature.as_ref(), stop_signature)),
        ("encrypted_key", or_null(stop.encrypted_key.as_ref(), hex)),
    ])
}

fn stop_signature(signature: &StopSignature) -> Json {
    object([("digest", hex(&signature.digest)), ("signature", hex(&signature.signature))])
}

fn build(build: &Build) -> Json {
    object([("signature", hex(&build.signature)), ("rsa_public_key", hex(&build.rsa_public_key))])
}

fn id(id: &Id) -> Json {
    match id {
        Id::Int(number) => Json::Int(number.clone()),
        Id::Text(value) => text(value),
    }
}

fn hex(value: &HexText) -> Json {
    text(value.as_str())
}

fn text(value: &str) -> Json {
    Json::Text(value.to_owned())
}

fn or_null<T: ?Sized>(value: Option<&T>, write: fn(&T) -> Json) -> Json {
    value.map_or(Json::Null, write)
}

fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
