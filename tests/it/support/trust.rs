//! The trust file of a station under test.

use std::path::PathBuf;

use stationmaster::{
    trust,
    trust::{OwnerKind, Pin, TrustStore},
};
use stationmaster_train::{config::HexText, keys::PublicKey};

use super::{Seat, Station, Train};

impl Station {
    /// Its trust file.
    pub fn trust_file(&self) -> PathBuf {
        self.state().join("trust.toml")
    }

    /// Changes its trust file; makes it when there is none.
    #[track_caller]
    pub fn edit_trust(&self, change: impl FnOnce(&mut TrustStore)) {
        let changed = trust::file::update(&self.trust_file(), |store| {
            change(store);
            Ok::<_, trust::TrustError>(())
        });
        changed.expect("a trust file");
    }

    /// Adds a train's creator and every other station on its route to the trust file, with the keys that they were made with.
    #[track_caller]
    pub fn trust_train(&self, train: &Train) {
        self.trust_creator(train);
        self.trust_stations(&train.seats().into_iter().filter(|seat| seat.id != self.id()).collect::<Vec<_>>());
    }

    /// Adds a train's creator to the trust file.
    #[track_caller]
    pub fn trust_creator(&self, train: &Train) {
        let creator = train.creator();
        self.edit_trust(|store| {
            let _ = store.add(OwnerKind::Creator, pin(&creator));
        });
    }

    /// Adds stations to the trust file.
    #[track_caller]
    pub fn trust_stations(&self, seats: &[Seat]) {
        self.edit_trust(|store| {
            for seat in seats {
                let _ = store.add(OwnerKind::Station, pin(seat));
            }
        });
    }
}

fn pin(seat: &Seat) -> Pin {
    let key = PublicKey::from_hex_pem(&HexText::new(&seat.hex_pem)).expect("a public key");
    Pin::new(&seat.id, key, None).expect("an entry")
}
