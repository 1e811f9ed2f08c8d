//! Converts parsed JSON to a config, with the conversions of train_lib's model (`docs/wire-format.md §2.2`).

mod fields;

use fields::{FieldPath, Fields};

use super::{
    Build, Creator, Ecosystem, HexText, Id, MAX_CONFIG_BYTES, MAX_FILE_LIST, MAX_ROUTE_STOPS, RouteStop, Source, SourceKind,
    StopSignature, TrainConfig, TrainConfigError, longest,
};
use crate::{
    Integer,
    json::{Json, JsonError},
    python::float_repr,
};

pub(super) fn parse(bytes: &[u8]) -> Result<TrainConfig, TrainConfigError> {
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(TrainConfigError::LimitExceeded { limit: "config_bytes" });
    }
    let json = Json::parse(bytes).map_err(|error| match error {
        JsonError::TooDeep => TrainConfigError::LimitExceeded { limit: "json_depth" },
        JsonError::TooManyValues => TrainConfigError::LimitExceeded { limit: "json_values" },
        other => TrainConfigError::Json(other),
    })?;
    config(Fields::new(FieldPath::Root, json)?)
}

fn config(mut top: Fields) -> Result<TrainConfig, TrainConfigError> {
    Ok(TrainConfig {
        source: top.required("source", source)?,
        creator: top.required("creator", creator)?,
        proposal_id: top.required("proposal_id", within(longest::ID, id))?,
        id: top.required("@id", within(longest::ID, text))?,
        context: top.optional("@context", within(longest::CONTEXT, context))?.unwrap_or(Json::Null),
        session_id: top.required("session_id", within(longest::SESSION, hex))?,
        route: top.required("route", |at, json| list(at, json, MAX_ROUTE_STOPS, "route_stops", stop))?,
        file_list: top
            .required("file_list", |at, json| list(at, json, MAX_FILE_LIST, "file_list_entries", within(longest::PATH, text)))?,
        hash: top.required("hash", within(longest::DIGEST, hex))?,
        signature: top.required("signature", within(longest::SIGNATURE, hex))?,
        build: top.required("build", build)?,
        result_hash: top.optional("result_hash", within(longest::DIGEST, hex))?,
        result_signature: top.optional("result_signature", within(longest::SIGNATURE, hex))?,
    })
}

fn source(at: FieldPath, json: Json) -> Result<Source, TrainConfigError> {
    let mut fields = Fields::new(at, json)?;
    Ok(Source {
        kind: fields.required("type", |at, json| match &json {
            Json::Text(name) if name == "docker_repository" => Ok(SourceKind::DockerRepository),
            Json::Text(name) if name == "git_repository" => Ok(SourceKind::GitRepository),
            _ => Err(at.is_not("docker_repository or git_repository")),
        })?,
        address: fields.required("address", within(longest::PATH, text))?,
        tag: fields.optional("tag", within(longest::PATH, text))?,
        branch: fields.optional("branch", within(longest::PATH, text))?,
    })
}

fn creator(at: FieldPath, json: Json) -> Result<Creator, TrainConfigError> {
    let mut fields = Fields::new(at, json)?;
    let paillier = |at: FieldPath, json| match json {
        // Hex comes first in this union, so numeric text stays text.
        Json::Text(text) => Ok(Id::Text(text)),
        other => id(at, other),
    };
    Ok(Creator {
        id: fields.required("id", within(longest::ID, id))?,
        rsa_public_key: fields.required("rsa_public_key", within(longest::KEY, hex))?,
        paillier_public_key: fields.optional("paillier_public_key", within(longest::KEY, paillier))?,
        encrypted_key: fields.optional("encrypted_key", within(longest::SIGNATURE, hex))?,
    })
}

fn stop(at: FieldPath, json: Json) -> Result<RouteStop, TrainConfigError> {
    let mut fields = Fields::new(at, json)?;
    Ok(RouteStop {
        station: fields.required("station", within(longest::ID, id))?,
        eco_system: fields.required("eco_system", |at, json| match &json {
            Json::Text(name) if name == "tue" => Ok(Ecosystem::Tue),
            Json::Text(name) if name == "padme" => Ok(Ecosystem::Padme),
            _ => Err(at.is_not("tue or padme")),
        })?,
        rsa_public_key: fields.required("rsa_public_key", within(longest::KEY, hex))?,
        index: fields.required("index", index)?,
        signature: fields.optional("signature", |at, json| {
            let mut fields = Fields::new(at, json)?;
            Ok(StopSignature {
                digest: fields.required("digest", within(longest::DIGEST, hex))?,
                signature: fields.required("signature", within(longest::SIGNATURE, hex))?,
            })
        })?,
        encrypted_key: fields.optional("encrypted_key", within(longest::SIGNATURE, hex))?,
    })
}

fn build(at: FieldPath, json: Json) -> Result<Build, TrainConfigError> {
    let mut fields = Fields::new(at, json)?;
    Ok(Build {
        signature: fields.required("signature", within(longest::SIGNATURE, hex))?,
        rsa_public_key: fields.required("rsa_public_key", within(longest::KEY, hex))?,
    })
}

/// Reads a value and rejects it if it is longer than `most` characters, so that no field is read without a limit of its own.
fn within<T: Length>(
    most: usize,
    read: impl Fn(FieldPath, Json) -> Result<T, TrainConfigError>,
) -> impl Fn(FieldPath, Json) -> Result<T, TrainConfigError> {
    move |at, json| {
        let value = read(at, json)?;
        if value.is_within(most) { Ok(value) } else { Err(at.is_longer_than(most)) }
    }
}

/// Length of a config value, in characters.
trait Length {
    fn is_within(&self, most: usize) -> bool;
}

impl Length for str {
    fn is_within(&self, most: usize) -> bool {
        // Text has at most as many characters as bytes.
        self.len() <= most || self.chars().count() <= most
    }
}

impl Length for String {
    fn is_within(&self, most: usize) -> bool {
        self.as_str().is_within(most)
    }
}

impl Length for HexText {
    fn is_within(&self, most: usize) -> bool {
        self.as_str().is_within(most)
    }
}

impl Length for Id {
    fn is_within(&self, most: usize) -> bool {
        match self {
            Self::Int(number) => number.to_string().is_within(most.max(longest::NUMBER)),
            Self::Text(text) => text.is_within(most),
        }
    }
}

impl Length for Json {
    fn is_within(&self, most: usize) -> bool {
        self.to_python_text().is_within(most)
    }
}

/// Reads any dict, and any value that Python's `dict()` converts to an empty dict.
fn context(at: FieldPath, json: Json) -> Result<Json, TrainConfigError> {
    match json {
        Json::Object(_) => Ok(json),
        Json::Array(items) if items.is_empty() => Ok(Json::Object(Vec::new())),
        Json::Text(text) if text.is_empty() => Ok(Json::Object(Vec::new())),
        _ => Err(at.is_not("an object")),
    }
}

fn hex(at: FieldPath, json: Json) -> Result<HexText, TrainConfigError> {
    match json {
        Json::Text(text) => Ok(HexText::new(text)),
        _ => Err(at.is_not("text")),
    }
}

/// Reads text, or the text that Python's `str()` makes of a number or boolean.
fn text(at: FieldPath, json: Json) -> Result<String, TrainConfigError> {
    match json {
        Json::Text(text) => Ok(text),
        Json::Int(number) => Ok(number.to_string()),
        Json::Float(number) => Ok(float_repr(number)),
        Json::Bool(true) => Ok("True".to_owned()),
        Json::Bool(false) => Ok("False".to_owned()),
        _ => Err(at.is_not("text")),
    }
}

fn id(at: FieldPath, json: Json) -> Result<Id, TrainConfigError> {
    match json {
        Json::Text(text) => Ok(Id::from_text(text)),
        other => integer(&other).map(Id::Int).ok_or_else(|| at.is_not("a number or text")),
    }
}

fn index(at: FieldPath, json: Json) -> Result<i64, TrainConfigError> {
    integer(&json).and_then(|number| number.to_i64()).ok_or_else(|| at.is_not("a whole number of 64 bits"))
}

/// Returns what Python's `int()` makes of a scalar.
fn integer(json: &Json) -> Option<Integer> {
    match json {
        Json::Int(number) => Some(number.clone()),
        Json::Float(number) => Integer::from_float(*number),
        Json::Bool(truth) => Some(i64::from(*truth).into()),
        Json::Text(text) => Integer::from_python_text(text),
        _ => None,
    }
}

fn list<T>(
    at: FieldPath,
    json: Json,
    most: usize,
    limit: &'static str,
    one: impl Fn(FieldPath, Json) -> Result<T, TrainConfigError>,
) -> Result<Vec<T>, TrainConfigError> {
    let Json::Array(items) = json else {
        return Err(at.is_not("a list"));
    };
    if items.len() > most {
        return Err(TrainConfigError::LimitExceeded { limit });
    }
    let read = |(position, item)| match item {
        Json::Null => Err(FieldPath::Item(&at, position).is_missing()),
        item => one(FieldPath::Item(&at, position), item),
    };
    items.into_iter().enumerate().map(read).collect()
}
