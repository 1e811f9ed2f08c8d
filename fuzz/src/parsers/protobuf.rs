//! Requests as they come from the wire.

use std::fmt::Debug;

use prost::Message;
use stationmaster::protocol::{PostRunOrder, PreRunOrder};
use stationmaster_image::oci::reference::ImageSource;
use stationmaster_proto as pb;
use stationmaster_train::{names::FilePath, selection::Selection};

/// The first byte says which request.
pub fn run(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 10 {
        0 => image(same::<pb::InspectTrainRequest>(bytes).map(|request| request.image)),
        1 => image(same::<pb::PreRunRequest>(bytes).map(|request| request.image)),
        2 => image(same::<pb::PostRunRequest>(bytes).map(|request| request.image)),
        3 => drop(same::<pb::AbortRunRequest>(bytes)),
        4 => drop(same::<pb::ListKeysRequest>(bytes)),
        5 => drop(same::<pb::GetKeyRequest>(bytes)),
        6 => drop(same::<pb::SignRequest>(bytes)),
        7 => drop(same::<pb::UnwrapKeyRequest>(bytes)),
        9 => results(same::<pb::OpenResultsRequest>(bytes)),
        _ => image(same::<pb::HashImageRequest>(bytes).map(|request| request.image)),
    }
}

/// The same, and what becomes of a request to open or to close a train: an order or a refusal.
pub fn requests(input: &[u8]) {
    run(input);
    let Some((which, bytes)) = input.split_first() else { return };
    if which.is_multiple_of(2) {
        let order = pb::PreRunRequest::decode(bytes).ok().and_then(|request| PreRunOrder::try_from(request).ok());
        assert!(order.is_none_or(|order| order.image.tag() != "base"), "the base is never opened");
    } else {
        let order = pb::PostRunRequest::decode(bytes).ok().and_then(|request| PostRunOrder::try_from(request).ok());
        assert!(order.is_none_or(|order| order.run_id.is_some() || order.image.is_some()), "an order names its run");
    }
}

/// What was decoded is encoded and decoded as the same, and not longer than it came.
fn same<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let encoded = message.encode_to_vec();
    assert_eq!(M::decode(&encoded[..]).expect("what we write, we read"), message);
    Some(message)
}

/// Whatever a selection names is below the results, and without patterns it is everything.
fn results(request: Option<pb::OpenResultsRequest>) {
    let Some(request) = request else { return };
    image(match request.part {
        Some(pb::open_results_request::Part::Image(name)) => Some(name),
        _ => None,
    });
    let Ok(selection) = Selection::new(&request.paths) else { return };
    for pattern in selection.patterns() {
        let path = FilePath::new(pattern).expect("a pattern is a plain path");
        let _ = selection.contains(&path);
    }
    let path = FilePath::new("a/b.txt").expect("a path");
    assert!(!selection.patterns().is_empty() || selection.contains(&path));
}

fn image(name: Option<String>) {
    if let Some(name) = name {
        let _ = name.parse::<ImageSource>();
    }
}
