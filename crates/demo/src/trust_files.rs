//! Creates the trust file of the stations; all three share it.

use std::path::Path;

use stationmaster::{
    service::status::Reason,
    trust::{OwnerKind, Pin, TrustError, file},
};
use stationmaster_image::oci::reference::ImageName;
use stationmaster_train::keys::PublicKey;

use super::{
    DemoError,
    creator::Proposal,
    engine::DockerClient,
    expect::{refused_as, require},
    report::DemoReport,
    stations::DemoStation,
    workspace::trust_file,
};

/// Creates the file, without entries.
pub(super) fn create_empty(root: &Path) -> Result<(), DemoError> {
    file::update(&trust_file(root), |_| Ok::<_, TrustError>(())).map_err(DemoError::crypto)
}

/// Pins the stations' keys, as their own services returned them.
pub(super) fn pin_stations(root: &Path, route: &[DemoStation], report: &mut DemoReport) -> Result<(), DemoError> {
    for station in route {
        pin(root, OwnerKind::Station, &station.id, &station.public_key)?;
    }
    report.step("administrator", "pinned the stations' keys; no other key is trusted");
    Ok(())
}

/// Checks that the train is refused while its creator is not trusted, and pins the creator's key.
pub(super) async fn pin_creator(
    root: &Path,
    sent: &Proposal,
    image: &ImageName,
    station: &DemoStation,
    engine: &DockerClient,
    report: &mut DemoReport,
) -> Result<(), DemoError> {
    report.part("Attack: a train of an unknown creator, signed with the creator's own key");
    let before = (engine.images().await?, engine.containers().await?);
    let refused = refused_as(Reason::KeyUntrusted, station.pre_run(&image.to_string()).await.map(drop))?;
    require((engine.images().await?, engine.containers().await?) == before, "a refusal changes nothing in the engine")?;
    let key = PublicKey::from_hex_pem(&sent.creator.rsa_public_key).map_err(DemoError::crypto)?;
    let fingerprint = refused.metadata.get("fingerprint");
    require(fingerprint == Some(&key.fingerprint()), "the refusal names the fingerprint that an administrator must compare")?;
    report.step(&station.id, format!("PreRun refused: {} {}", Reason::KeyUntrusted.name(), key.fingerprint()));
    report.proven(
        "A train whose creator is not in the trust file is refused before the token is used, although its signatures are valid",
    );
    pin(root, OwnerKind::Creator, &sent.creator.id.to_string(), &key)?;
    report.step("administrator", "compared the fingerprint with the creator's and pinned it: this creator is now trusted");
    Ok(())
}

fn pin(root: &Path, kind: OwnerKind, id: &str, key: &PublicKey) -> Result<(), DemoError> {
    let pin = Pin::new(id, key.clone(), None).map_err(DemoError::crypto)?;
    let added = file::update(&trust_file(root), |store| Ok::<_, TrustError>(store.add(kind, pin)));
    added.map_err(DemoError::crypto)?.map_err(DemoError::crypto)
}
