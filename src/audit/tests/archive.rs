//! Tests of old segments in another directory: archived and remaining segments form one log.

use super::{
    super::{archive::*, read},
    *,
};

#[test]
fn archived_segments_and_those_that_are_left_are_one_log_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("service");
    let to = directory.path().join("archive/service");
    let signer = Signer::new();
    let audit = open(directory.path(), 2048);
    for number in 0..60 {
        audit.record(entry(number)).unwrap();
    }
    signer.sign(&audit);
    let count = segments(directory.path()).len();
    let old = movable(&log, 3).unwrap();
    assert_eq!(old.len(), count - 3);
    // A move that was cut off between the copy and the end of the old one; and while the log is written to.
    fs::create_dir_all(&to).unwrap();
    fs::copy(&old[0].1, to.join(read::segment_name(1))).unwrap();
    let both = [to.clone(), log.clone()];
    let all = || read::segments_of(&both).unwrap().into_iter().map(|(_, path)| path).collect::<Vec<_>>();
    assert!(verify(&all(), Some(&signer.spki()), None).unwrap().holds());
    for (_, path) in &old {
        move_segment(path, &to).unwrap();
    }
    audit.record(entry(60)).unwrap();
    audit.close();
    let (audit, _) = Audit::open(settings(directory.path(), 2048)).unwrap();
    audit.record(entry(61)).unwrap();
    signer.sign(&audit);
    audit.close();
    let found = verify(&all(), Some(&signer.spki()), None).unwrap();
    assert!(found.holds() && found.first == 0, "{:?}", found.flaws);
    assert!(movable(&log, 0).unwrap().len() + 2 == read::segments(&log).unwrap().len(), "the last two always stay");

    // Another file of that name is not overwritten.
    let next = movable(&log, 2).unwrap().remove(0).1;
    fs::write(to.join(next.file_name().unwrap()), "something else").unwrap();
    assert!(matches!(move_segment(&next, &to), Err(AuditError::Broken { .. })) && next.exists());
}
