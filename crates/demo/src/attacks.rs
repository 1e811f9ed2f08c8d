//! Attacks that must be refused: a forged train, and the train key used for anything but trains.

use stationmaster::service::status::Reason;
use stationmaster_train::digest::Digest;

use super::{
    DemoError,
    builder::BuiltTrain,
    engine::DockerClient,
    expect::{refused_as, require},
    prerequisites::Needs,
    report::DemoReport,
    stations::DemoStation,
};

/// A copy of the train with one byte of its sealed code flipped comes to its first stop.
pub(super) async fn forged_train(
    needs: &Needs,
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
    let told = refused.metadata.keys().map(String::as_str).collect::<Vec<_>>();
    require(told == ["refusal_id"], format!("a refusal tells a refusal_id and nothing else (it told {told:?})"))?;
    let refusal_id = &refused.metadata["refusal_id"];
    require(station.logged(refusal_id).is_some(), "the station's log knows the refusal")?;
    require((engine.images().await?, engine.containers().await?) == before, "a refusal changes nothing in the engine")?;
    report.step(&station.id, format!("PreRun refused: {} (refusal {refusal_id})", Reason::TrainAuthenticationFailed.name()));
    report.more("no image, name or container changed in the engine");
    report.proven(
        "A train with one flipped byte is refused; nothing in the engine changed; the caller learns a refusal id,\n\
         under which the station's own log holds the cause",
    );
    Ok(())
}

/// Somebody who may talk to the station asks it to use the train key by hand.
pub(super) async fn train_key_by_hand(
    report: &mut DemoReport,
    train: &BuiltTrain,
    station: &DemoStation,
) -> Result<(), DemoError> {
    report.part("Attack: the train key is used by hand");
    let reason = Reason::KeyNotAllowed;
    refused_as(reason, station.sign(Digest::of(b"anything").as_bytes()).await.map(drop))?;
    report.step(&station.id, format!("Sign refused: {}", reason.name()));
    refused_as(reason, station.unwrap_key(&train.wrapped_key).await.map(drop))?;
    report.step(&station.id, format!("UnwrapKey refused: {}", reason.name()));
    report.proven("A train key signs and unwraps for trains only: Sign and UnwrapKey with it are refused");
    Ok(())
}
