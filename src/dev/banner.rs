//! Banner of a development station, so that it is not mistaken for a production station.

use std::path::Path;

use crate::{server::Addresses, trust::TrustMode};

pub(super) fn print(directory: &Path, station: &str, addresses: &Addresses, mode: TrustMode) {
    let version = env!("CARGO_PKG_VERSION");
    let unix = addresses.unix.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let tcp = addresses.tcp.map(|address| address.to_string()).unwrap_or_default();
    let directory = directory.display();
    let trust = match mode {
        TrustMode::Embedded => "It TRUSTS THE KEYS IN TRAINS: anyone can make a train it runs.",
        TrustMode::Pinned | TrustMode::FirstUse => "It trusts only the keys in the given trust file.",
    };
    eprintln!(
        "\
==> stationmaster {version}  DEVELOPMENT STATION, NOT FOR REAL DATA
    *********************************************************************
    *  {trust:<64} *
    *  Its keys are in software, and its PIN is in a file beside them.  *
    *********************************************************************
    Station  {station}
    State    {directory}
    Listen   unix://{unix}
             {tcp}  (TLS 1.3, client certificate required, 30 days)
    Client   . '{directory}/env'; stationmaster key list"
    );
}
