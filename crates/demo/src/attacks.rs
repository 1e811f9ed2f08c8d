//! Attacks that must be refused: a forged train, and the train key used for anything but trains.

use stationmaster::service::status::Reason;
use stationmaster_train::digest::Digest;

use super::{
    DemoError,
    builder::BuiltTrain,
    engine::DockerClient,
    expect::{refused_as, require},
    prerequisites::Prerequisites,
    report::DemoReport,
    stations::DemoStation,
};

/// Offers a copy of the train, with one byte of its sealed code flipped, to its first stop.
pub(super) async fn forged_train(
    needs: &Prerequisites,
    engine: &DockerClient,
    report: &mut DemoReport,
    train: &BuiltTrain,
    station: &DemoStation,
) -> Result<(), DemoError> {
    let (forged, path) = train.forged();
    report.part(format!("Attack: one byte of the sealed {path} is flipped"));
    let image = engine.import(&engine.repository("forged"), forged.root_file_system(needs)?).await?;
    report.step("attacker", format!("brings {image}"));

    let before = (engine.images().await?, engine.containers().await?);
    let refused = refused_as(Reason::TrainAuthenticationFailed, station.pre_run(&image.to_string()).await.map(drop))?;
    let metadata = refused.metadata.keys().map(String::as_str).collect::<Vec<_>>();
    require(metadata == ["refusal_id"], format!("a refusal contains a refusal_id and nothing else (it contains {metadata:?})"))?;
    let refusal_id = &refused.metadata["refusal_id"];
    require(station.logged(refusal_id).is_some(), "the station's log contains the refusal")?;
    require((engine.images().await?, engine.containers().await?) == before, "a refusal changes nothing in the engine")?;
    report.step(&station.id, format!("PreRun refused: {} (refusal {refusal_id})", Reason::TrainAuthenticationFailed.name()));
    report.detail("no image, name or container changed in the engine");
    report.proven(
        "A train with one flipped byte is refused; nothing in the engine changed; the caller receives a refusal id,\n\
         under which the station's own log contains the cause",
    );
    Ok(())
}

/// Calls Sign and UnwrapKey with the train key.
pub(super) async fn direct_use_of_train_key(
    report: &mut DemoReport,
    train: &BuiltTrain,
    station: &DemoStation,
) -> Result<(), DemoError> {
    report.part("Attack: the train key is used directly");
    let reason = Reason::KeyNotAllowed;
    refused_as(reason, station.sign(Digest::of(b"anything").as_bytes()).await.map(drop))?;
    report.step(&station.id, format!("Sign refused: {}", reason.name()));
    refused_as(reason, station.unwrap_key(&train.wrapped_key).await.map(drop))?;
    report.step(&station.id, format!("UnwrapKey refused: {}", reason.name()));
    report.proven("A train key signs and unwraps for trains only: Sign and UnwrapKey with it are refused");
    Ok(())
}
