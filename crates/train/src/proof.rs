//! Verifies everything about a train that needs no private key: at any stop, at the end of its route, by any party.
//!
//! Every rule that concerns a train at rest gets an outcome. Contents are sealed, so the digests signed over them cannot be
//! compared here; the report states this for each such rule.

mod found;

pub use found::{Found, FoundDirectory, NameSample};

use super::{
    config::{Id, TrainConfig},
    keys::PublicKey,
    names::Listing,
    route::{self, RouteError},
    rule::{Outcome, Report, Rule},
    seal::user_key_bytes,
    verify::{self, Distrust},
};

/// Length of a session id, in bytes.
const SESSION_ID: usize = 64;

/// Owner of a key that a config states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHolder<'c> {
    /// The train's creator, by id.
    Creator(&'c Id),
    /// A station of the route, by id.
    Station(&'c Id),
}

/// Returns whether a key is pinned for its owner. A trust store is plugged in here.
pub type IsPinned<'a> = &'a dyn Fn(KeyHolder<'_>, &PublicKey) -> bool;

/// Result of the verification.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The outcome of each rule.
    pub report: Report,
    /// Number of stops that have signed, counted from the first on.
    pub stops_signed: usize,
    /// Number of stops on the route.
    pub stops: usize,
}

/// Verifies a train's config and the entries found with it. Without `trust` no key is pinned.
#[must_use]
pub fn prove(config: &TrainConfig, mut found: Found, trust: Option<IsPinned<'_>>) -> Proof {
    found.complete();
    let signed = route::first_signed(config);
    let mut prover = Prover { config, found: &found, report: Report::default() };
    prover.config_itself();
    prover.trust(trust);
    prover.route();
    prover.signatures(signed);
    prover.code();
    prover.content();
    prover.keys(signed);
    Proof { report: prover.report.with_not_checkable(), stops_signed: signed, stops: config.route.len() }
}

struct Prover<'a> {
    config: &'a TrainConfig,
    found: &'a Found,
    report: Report,
}

impl Prover<'_> {
    fn checked(&mut self, rule: Rule, note: impl Into<String>) {
        self.report.note(rule, Outcome::Checked, note);
    }

    fn broken(&mut self, rule: Rule, note: impl Into<String>) {
        self.report.note(rule, Outcome::Broken, note);
    }

    fn unknown(&mut self, rule: Rule, note: impl Into<String>) {
        self.report.note(rule, Outcome::NotCheckable, note);
    }

    fn verified(&mut self, rule: Rule, verdict: Result<(), Distrust>, note: &str) {
        match verdict {
            Ok(()) => self.checked(rule, note),
            Err(why) => self.broken(rule, why.to_string()),
        }
    }

    fn config_itself(&mut self) {
        self.checked(Rule::StrictConfig, "");
        match self.config.session_id.decode() {
            Ok(id) if id.len() == SESSION_ID => self.checked(Rule::SessionIdLength, ""),
            Ok(id) => self.broken(Rule::SessionIdLength, format!("{} bytes, not {SESSION_ID}", id.len())),
            Err(error) => self.broken(Rule::SessionIdLength, error.to_string()),
        }
    }

    fn trust(&mut self, trust: Option<IsPinned<'_>>) {
        let config = self.config;
        let creator = (Rule::CreatorPinned, KeyHolder::Creator(&config.creator.id), &config.creator.rsa_public_key);
        let stations =
            config.route.iter().map(|stop| (Rule::StationsPinned, KeyHolder::Station(&stop.station), &stop.rsa_public_key));
        for (rule, who, key) in [creator].into_iter().chain(stations) {
            match trust {
                None => self.unknown(rule, "no trust store was given"),
                Some(is_pinned) => match PublicKey::from_hex_pem(key) {
                    Ok(key) if is_pinned(who, &key) => self.checked(rule, ""),
                    _ => self.broken(rule, "the stated key is not the pinned one"),
                },
            }
        }
        self.unknown(Rule::OwnRouteKey, "only a station knows its own keys");
    }

    fn route(&mut self) {
        match route::stops_signed(self.config) {
            Ok(signed) => self.checked(Rule::RouteShape, format!("{signed} of {} stops have signed", self.config.route.len())),
            Err(why) => self.broken(Rule::RouteShape, why.to_string()),
        }
    }

    fn signatures(&mut self, signed: usize) {
        let config = self.config;
        self.verified(Rule::CreatorSignature, verify::verify_creator(config), "over the stated digest");
        self.verified(Rule::BuilderSignature, verify::verify_build(config), "over the stated digest");
        // If only the results digest was stripped, each rule reports it itself.
        // Otherwise there is no sequence of signed stops to check.
        if !matches!(route::stops_signed(config), Ok(_) | Err(RouteError::ResultStripped)) {
            for rule in [Rule::ChainSignatures, Rule::NewestLink, Rule::SignaturesApart, Rule::ResultsSignature] {
                self.unknown(rule, "the route's shape does not tell which stops have signed");
            }
            return;
        }
        if signed == 0 && config.result_signature.is_none() && route::stops_signed(config).is_ok() {
            // Same outcome as in pre-run: there is nothing to check.
            for rule in [Rule::ChainSignatures, Rule::NewestLink, Rule::SignaturesApart, Rule::ResultsSignature] {
                self.unknown(rule, "no stop has signed anything yet");
            }
            return;
        }
        self.verified(Rule::ChainSignatures, verify::verify_chain_signatures(config, signed), "");
        self.verified(Rule::NewestLink, verify::verify_newest_link(config, signed), "");
        self.verified(Rule::SignaturesApart, verify::verify_signatures_apart(config, signed), "");
        self.verified(Rule::ResultsSignature, verify::verify_results_signature(config, signed), "over the stated digest");
    }

    fn code(&mut self) {
        let sealed = "the files are sealed: only a station of the route can compare them with the signed digest";
        self.unknown(Rule::ImmutableDigest, sealed);
        let listing = Listing::new(&self.config.file_list);
        if let Err(error) = &listing {
            self.broken(Rule::PlainNames, error.to_string());
        }
        if self.found.without_code {
            for rule in [Rule::ListedFilesPresent, Rule::UnlistedFiles] {
                self.unknown(rule, "this archive leaves the code behind");
            }
            return;
        }
        let Ok(listing) = listing else {
            for rule in [Rule::ListedFilesPresent, Rule::UnlistedFiles] {
                self.unknown(rule, "file_list has a name that no file can have");
            }
            return;
        };
        let code = &self.found.code;
        let mut missing = NameSample::default();
        for name in listing.names().iter().filter(|name| !code.has_file(name)) {
            missing.add(name.as_str().as_bytes());
        }
        if missing.is_empty() {
            self.checked(Rule::ListedFilesPresent, "");
        } else {
            self.broken(Rule::ListedFilesPresent, missing.reported("missing file", "missing files"));
        }
        let mut unlisted = NameSample::default();
        for name in code.files().filter(|name| !name.is_query() && !listing.contains(name)) {
            unlisted.add(name.as_str().as_bytes());
        }
        if unlisted.is_empty() {
            self.checked(Rule::UnlistedFiles, "");
        } else {
            self.broken(Rule::UnlistedFiles, unlisted.reported("file that nobody signed", "files that nobody signed"));
        }
    }

    fn content(&mut self) {
        let found = self.found;
        match (found.results.is_there, found.code.is_there || found.without_code) {
            (false, _) => self.broken(Rule::BothDirectories, "pht_results is missing"),
            (true, false) => self.broken(Rule::BothDirectories, "pht_train is missing"),
            (true, true) if found.without_code => self.checked(Rule::BothDirectories, "this archive leaves the code behind"),
            (true, true) => self.checked(Rule::BothDirectories, ""),
        }
        let order = if found.out_of_order { "not in the engine's order, so the archive was made anew" } else { "" };
        for (rule, one, many, note) in [
            (Rule::PlainNames, "name", "names", ""),
            (Rule::UniqueNames, "name that is there twice", "names that are there twice", order),
            (Rule::NoLinks, "link or special file", "links or special files", ""),
        ] {
            match found.broken_by(rule) {
                Some(names) => self.broken(rule, names.reported(one, many)),
                None => self.checked(rule, note),
            }
        }
        if found.others.is_empty() {
            self.checked(Rule::OptAllowList, "");
        } else {
            let others = found.others.reported("other entry of /opt", "other entries of /opt");
            let note = format!("{others}; whether its base holds them too was not looked at");
            self.unknown(Rule::OptAllowList, note);
        }
        let sealed = "the results are sealed: only the next station, or the creator, can compare them with the signed digest";
        self.unknown(Rule::ResultsDigest, sealed);
        if found.wrong_length().is_empty() {
            self.checked(Rule::SealedLengths, "");
        } else {
            self.broken(
                Rule::SealedLengths,
                found.wrong_length().reported("file that cannot be sealed", "files that cannot be sealed"),
            );
        }
        if found.plain().is_empty() {
            let short = match found.too_short() {
                0 => String::new(),
                count => format!(" ({count} too short to tell but by their length)"),
            };
            self.unknown(Rule::NoPlaintextLayers, format!("all files look sealed{short}; lower layers were not looked at"));
        } else {
            self.broken(
                Rule::NoPlaintextLayers,
                found.plain().reported("file that does not look sealed", "files that do not look sealed"),
            );
        }
    }

    fn keys(&mut self, signed: usize) {
        let config = self.config;
        match (user_key_bytes(config), &self.found.user_key) {
            (None, None) => self.checked(Rule::UserKey, "no key is wrapped for the creator yet"),
            (Some(_), None) => self.checked(Rule::UserKey, "it is only in the config"),
            (None, Some(_)) => self.broken(Rule::UserKey, "it is there, but the config states no key for the creator"),
            (Some(Ok(stated)), Some(lies)) if stated == *lies => self.checked(Rule::UserKey, ""),
            (Some(Ok(_)), Some(_)) => self.broken(Rule::UserKey, "user_sym_key.key is not the key that the config states"),
            (Some(Err(error)), Some(_)) => self.broken(Rule::UserKey, format!("creator.encrypted_key: {error}")),
        }
        let stations = config.route.iter().map(|stop| (format!("stop {}", stop.index), &stop.rsa_public_key));
        for (whose, key) in stations.chain([("creator".to_owned(), &config.creator.rsa_public_key)]) {
            match PublicKey::from_hex_pem(key) {
                Ok(_) => self.checked(Rule::RouteKeysUsable, ""),
                Err(error) => self.broken(Rule::RouteKeysUsable, format!("{whose}: {error}")),
            }
        }
        self.unknown(Rule::WrapForTrusted, "a wrapped key does not show whose key it was wrapped for");
        let mut stops: Vec<_> = config.route.iter().collect();
        stops.sort_by_key(|stop| stop.index);
        match stops[..signed].iter().filter(|stop| stop.encrypted_key.is_some()).count() {
            0 => self.checked(Rule::PastStopsExcluded, ""),
            count => {
                let stations =
                    if count == 1 { "station that the train has passed has" } else { "stations that the train has passed have" };
                let note = format!("{count} {stations} been given its key");
                self.report.note(Rule::PastStopsExcluded, Outcome::Relaxed, note);
            }
        }
    }
}

#[cfg(test)]
mod tests;
