//! Early check of an upload: finds out which train an archive contains while it is received. A caller whose grants name certain
//! trains is refused any other train as soon as its config has arrived, and not only after the whole upload.
//!
//! This check decides nothing else. The strict reader reads the whole archive afterwards; at unknown input this check stops.

use stationmaster_train::config::TrainConfig;

use crate::{
    protocol::{Caller, StepError},
    service::status::Refusal,
};

const BLOCK: usize = 512;
/// Maximum size of a config that is checked, in bytes.
const LARGEST: u64 = 8 << 20;
const CONFIG: &str = "train_config.json";

/// Searches a tar archive of `/opt` for the config.
pub(super) struct Early<'a> {
    caller: &'a Caller,
    state: State,
}

enum State {
    /// The bytes of a header so far.
    Header(Vec<u8>),
    /// Number of bytes of a file, including the padding of its last block, that are still skipped.
    Skip(u64),
    /// The config's bytes so far, and its length.
    Config(Vec<u8>, usize),
    /// The search has ended.
    Done,
}

impl<'a> Early<'a> {
    /// Starts a search if the caller's grants name certain trains; otherwise there is nothing to check.
    pub(super) fn of(caller: &'a Caller) -> Self {
        let named = caller.permit().is_some_and(|permit| permit.is_for_named_trains());
        Self { caller, state: if named { State::Header(Vec::with_capacity(BLOCK)) } else { State::Done } }
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// When the caller has no grant for the train.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Done => return Ok(()),
                State::Skip(left) => {
                    let n = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::Header(Vec::with_capacity(BLOCK));
                    }
                    n
                }
                State::Header(header) => {
                    let n = (BLOCK - header.len()).min(bytes.len());
                    header.extend_from_slice(&bytes[..n]);
                    if header.len() == BLOCK {
                        self.state = after(header);
                    }
                    n
                }
                State::Config(config, length) => {
                    let n = (*length - config.len()).min(bytes.len());
                    config.extend_from_slice(&bytes[..n]);
                    if config.len() == *length {
                        let train = TrainConfig::parse(config).ok().map(|config| config.id);
                        self.state = State::Done;
                        let permit = self.caller.permit();
                        if train.is_some_and(|id| permit.is_none_or(|permit| permit.for_train(&id).is_none())) {
                            return Err(StepError::TrainNotGranted.into());
                        }
                        return Ok(());
                    }
                    n
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }
}

/// Returns the state after a header.
fn after(header: &[u8]) -> State {
    let Ok(block) = <&[u8; BLOCK]>::try_from(header) else { return State::Done };
    let header = tar::Header::from_byte_slice(block);
    let sum: u32 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    let (Ok(size), true) = (header.entry_size(), header.cksum().is_ok_and(|stated| stated == sum)) else {
        return State::Done;
    };
    let path = header.path_bytes();
    let path = std::str::from_utf8(&path).unwrap_or_default().trim_start_matches("./");
    let is_config = header.entry_type().is_file() && path.strip_prefix("opt/").unwrap_or(path) == CONFIG;
    match usize::try_from(size) {
        Ok(length) if is_config && length > 0 && size <= LARGEST => State::Config(Vec::with_capacity(length), length),
        _ if size == 0 => State::Header(Vec::with_capacity(BLOCK)),
        _ => size.checked_next_multiple_of(BLOCK as u64).map_or(State::Done, State::Skip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authz::{Grant, GrantSpec, Grants, Principals, Rpc},
        protocol::new_call,
        service::status::Reason,
    };

    fn caller(trains: Option<&[String]>) -> Caller {
        let stated = GrantSpec { principal: "unix:uid=7", rpcs: &["OpenResults".into()], trains, ..Default::default() };
        let mut grants = Grants::default();
        grants.add(Grant::new(&stated).unwrap());
        Caller::new(new_call(), "unix:uid=7".into(), grants.decide(&Principals::of_socket(7, 7), Rpc::OpenResults).unwrap())
    }

    fn archive(config: &[u8]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in [("opt/pht_train/large", &[7; 3000][..]), ("opt/train_config.json", config), ("opt/z", &[8; 9000])]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_train_that_is_not_granted_is_refused_before_the_rest_of_it_has_come() {
        let vectors = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/train.json"));
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let config = vectors["steps"][0]["config"].as_str().unwrap().as_bytes().to_vec();
        let id = TrainConfig::parse(&config).unwrap().id;
        let archive = archive(&config);
        let end = archive.len() - 9000;
        for pieces in [1, 100, 512, 70_000] {
            let look = |caller: &Caller, bytes: &[u8]| {
                let mut early = Early::of(caller);
                bytes.chunks(pieces).try_for_each(|piece| early.look(piece))
            };
            let other = caller(Some(&["another-train".to_owned()]));
            assert_eq!(look(&other, &archive[..end]).unwrap_err().reason(), Reason::RpcNotAllowed);
            for may in [caller(None), caller(Some(std::slice::from_ref(&id)))] {
                look(&may, &archive).unwrap();
            }
            look(&other, &vec![0x55; 100_000]).expect("what is no archive is the strict reader's to refuse");
        }
    }
}
