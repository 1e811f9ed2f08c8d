//! A station's train keys, their states and their runs, for commands that work without the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use stationmaster_keystore::{KeyDescription, admin};

use crate::{
    audit::{Entry, Event},
    cli::{
        admin_audit,
        error::{CliError, Exit},
        token_access::{DirectArgs, PinArgs, TokenContext},
    },
    key_states::{KEY_STATES, KeyStates, file},
    ledger::{Ledger, Run},
    state::{self, Part},
};

/// The train keys of a station.
pub(in crate::cli::key) struct StationState {
    file: PathBuf,
    audit: PathBuf,
    /// The labels that the configuration names; `None` for a development station.
    configured: Option<Vec<String>>,
    /// The keys in the token, if they were read.
    keys: Vec<KeyDescription>,
    /// The ledger, if a service has created one.
    ledger: Option<(tokio::runtime::Runtime, Ledger)>,
}

/// Returns the path of the file of key states.
pub(in crate::cli::key) fn states_file(direct: &TokenContext) -> PathBuf {
    state_directory(direct).join(KEY_STATES)
}

fn state_directory(direct: &TokenContext) -> PathBuf {
    match &direct.config {
        Some(config) => config.state.directory.clone(),
        // A development station's logs are in its state directory.
        None => direct.audit.parent().unwrap_or(Path::new(".")).to_owned(),
    }
}

impl StationState {
    /// Opens states and ledger of the station whose token is open.
    pub(in crate::cli::key) fn open(direct: &TokenContext) -> Result<Self, CliError> {
        let directory = state_directory(direct);
        let ledger_file = directory.join(state::LEDGER);
        let ledger = match ledger_file.exists() {
            false => None,
            true => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
                let ledger = runtime.block_on(Ledger::attach(&ledger_file))?;
                Some((runtime, ledger))
            }
        };
        Ok(Self {
            file: directory.join(KEY_STATES),
            audit: direct.audit.clone(),
            configured: direct.config.as_ref().map(|config| config.keys.train.clone()),
            keys: Vec::new(),
            ledger,
        })
    }

    /// Opens token, states and ledger.
    pub(super) fn with_token(direct: &DirectArgs, pin: &PinArgs) -> Result<Self, CliError> {
        let direct = direct.required(pin)?;
        let keys = admin::contents(&direct.access)?.keys;
        Ok(Self { keys, ..Self::open(&direct)? })
    }

    /// Returns the key with this label in the token.
    pub(super) fn key(&self, label: &str) -> Option<&KeyDescription> {
        self.keys.iter().find(|key| key.label == label)
    }

    /// Returns a train key of the station that the token has.
    pub(super) fn train_key(&self, label: &str) -> Result<&KeyDescription, CliError> {
        let key = self.key(label).ok_or_else(|| {
            CliError::new(Exit::NotFound, format!("no key labelled {label:?}")).with_hint("`key list` shows the token's keys")
        })?;
        match &self.configured {
            Some(train) if !train.iter().any(|train| train == label) => {
                Err(CliError::usage(format!("the configuration does not name {label:?} as a train key"))
                    .with_hint("name it in `train` of [keys], and restart the service"))
            }
            _ => Ok(key),
        }
    }

    /// Returns the labels of the train keys.
    pub(in crate::cli::key) fn train_labels(&self, states: &KeyStates) -> Result<BTreeSet<String>, CliError> {
        if let Some(train) = &self.configured {
            return Ok(train.iter().cloned().collect());
        }
        // A development station's train key has the station's id as its label.
        let mut labels: BTreeSet<_> = states.iter().map(|(label, _)| label.to_owned()).collect();
        if let Some((runtime, ledger)) = &self.ledger {
            labels.extend(runtime.block_on(ledger.facts())?.get(Part::Station.name()).cloned());
        }
        Ok(labels)
    }

    /// Returns the states.
    pub(in crate::cli::key) fn states(&self) -> Result<KeyStates, CliError> {
        Ok(file::read(&self.file)?)
    }

    /// Returns all open runs.
    pub(in crate::cli::key) fn open_runs(&self) -> Result<Vec<Run>, CliError> {
        self.ledger.as_ref().map_or(Ok(Vec::new()), |(_, ledger)| Ok(ledger.open_runs()?))
    }

    /// Returns the number of runs of each key.
    pub(in crate::cli::key) fn runs_by_key(&self) -> Result<BTreeMap<String, u64>, CliError> {
        self.ledger.as_ref().map_or(Ok(BTreeMap::new()), |(_, ledger)| Ok(ledger.runs_by_key()?))
    }

    /// Returns the record of a change by a command.
    pub(super) fn record(command: &str, label: &str) -> Entry {
        admin_audit::entry(Event::KeyStateChanged, command).with("label", label)
    }

    /// Changes the states, with a record of intent and outcome, then carries out `after`; if that fails, the states are as before.
    pub(super) fn change(
        &self,
        entry: Entry,
        change: impl FnOnce(&mut KeyStates) -> Result<(), CliError>,
        after: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        admin_audit::carry_out(&self.audit, entry, || {
            let before = file::update(&self.file, |states| {
                let before = states.clone();
                change(states).map(|()| before)
            })?;
            if let Err(error) = after() {
                file::update(&self.file, |states| {
                    *states = before;
                    Ok::<_, CliError>(())
                })?;
                return Err(error);
            }
            // The file exists from now on: a service does not start without it.
            match &self.ledger {
                Some((runtime, ledger)) => Ok(runtime.block_on(ledger.keep_fact(Part::KeyStates.name(), "there"))?),
                None => Ok(()),
            }
        })
    }
}
