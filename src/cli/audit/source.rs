//! Selects an audit log and its records for the `audit` commands.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use crate::{
    audit::{
        self, Event, Record,
        read::{self, Line},
    },
    cli::{
        error::{CliError, Exit},
        state_dir,
    },
    config::Config,
};

/// Which log.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Source {
    /// The station's configuration
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG", help_heading = "Log")]
    config: Option<PathBuf>,
    /// A state directory, in place of a configuration
    #[arg(long, value_name = "DIR", help_heading = "Log")]
    state: Option<PathBuf>,
    /// Whose records
    #[arg(long, value_enum, default_value = "service", help_heading = "Log")]
    log: Which,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Which {
    /// The service's
    Service,
    /// Those of the administrators' commands
    Officer,
}

impl Which {
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Service => audit::SERVICE,
            Self::Officer => audit::ADMINISTRATORS,
        }
    }
}

/// How far a log was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogArgs {
    segment: u64,
    bytes: u64,
}

impl Source {
    /// The log's directories: its archive where the configuration names one, and its own.
    fn directories(&self) -> Result<Vec<PathBuf>, CliError> {
        let log = self.log.directory();
        let state = self.state.clone().or_else(|| self.config.is_none().then(state_dir::state_variable).flatten());
        if let Some(state) = state {
            return Ok(vec![state.join("audit").join(log)]);
        }
        let config = self.config.as_ref().ok_or_else(|| {
            CliError::usage("no log is named: give --config FILE or --state DIR")
                .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands")
        })?;
        let config = Config::load(config)?;
        let archive = config.audit.archive.as_ref().map(|archive| archive.join(log)).filter(|archive| archive.is_dir());
        Ok(archive.into_iter().chain([config.audit_directory().join(log)]).collect())
    }

    /// Hands over every record with the file that it is in, from the first that is there.
    pub(super) fn each(&self, take: impl FnMut(&Path, Line) -> Result<(), CliError>) -> Result<LogArgs, CliError> {
        self.after(LogArgs::default(), take)
    }

    /// The same, from a place on.
    pub(super) fn after(
        &self,
        mut place: LogArgs,
        mut take: impl FnMut(&Path, Line) -> Result<(), CliError>,
    ) -> Result<LogArgs, CliError> {
        for (number, path) in read::segments_of(&self.directories()?)? {
            if number < place.segment {
                continue;
            }
            let from = if number == place.segment { place.bytes } else { 0 };
            let mut segment = read::Segment::open_at(&path, from)?;
            let flaw = |error: read::LineError| {
                CliError::new(Exit::Other, format!("{}: {error}", path.display())).with_hint("`audit verify` tells more")
            };
            while let Some(line) = segment.next_record().map_err(flaw)? {
                take(&path, line)?;
            }
            place = LogArgs { segment: number, bytes: from + segment.whole() };
        }
        Ok(place)
    }
}

/// Which records. All that is given must fit.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Filter {
    /// Of a run
    #[arg(long, value_name = "ID", help_heading = "Which records")]
    run: Option<String>,
    /// Of a train, by its id or session
    #[arg(long, value_name = "ID", help_heading = "Which records")]
    train: Option<String>,
    /// Of a principal
    #[arg(long, value_name = "NAME", help_heading = "Which records")]
    principal: Option<String>,
    /// Of a key, by label or fingerprint
    #[arg(long, value_name = "LABEL", help_heading = "Which records")]
    key: Option<String>,
    /// Of a refusal, by the id that its caller was told
    #[arg(long, value_name = "ID", help_heading = "Which records")]
    refusal: Option<String>,
    /// Of one call
    #[arg(long, value_name = "ID", help_heading = "Which records")]
    call: Option<String>,
    /// Of an event: key-use, step, refusal, trust-changed, …
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true, help_heading = "Which records")]
    event: Option<Event>,
    /// From a moment on (RFC 3339)
    #[arg(long, value_name = "TIME", help_heading = "Which records")]
    since: Option<jiff::Timestamp>,
    /// Up to a moment (RFC 3339)
    #[arg(long, value_name = "TIME", help_heading = "Which records")]
    until: Option<jiff::Timestamp>,
}

impl Filter {
    pub(super) fn takes(&self, record: &Record) -> bool {
        let entry = &record.entry;
        let is = |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        let either = |wanted: &Option<String>, found: Option<[&String; 2]>| {
            wanted.as_ref().is_none_or(|wanted| found.is_some_and(|found| found.contains(&wanted)))
        };
        is(&self.run, entry.run.as_ref())
            && is(&self.principal, entry.principal.as_ref())
            && is(&self.refusal, entry.refusal_id.as_ref())
            && is(&self.call, entry.call.as_ref())
            && self.event.is_none_or(|event| event == entry.event)
            && either(&self.train, entry.train.as_ref().map(|train| [&train.id, &train.session]))
            && either(&self.key, entry.key.as_ref().map(|key| [&key.label, &key.fingerprint]))
            && self.since.is_none_or(|since| record.time() >= since.as_microsecond())
            && self.until.is_none_or(|until| record.time() <= until.as_microsecond())
    }
}

/// Records that a filter takes, and the outcomes of the key uses among them: those say neither run nor train nor key themselves.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    filter: &'a Filter,
    /// The same, less what an outcome does not say.
    of_outcomes: Filter,
    /// Key uses that were taken: their numbers, and how they ended.
    uses: BTreeMap<u64, Option<String>>,
}

impl<'a> Matching<'a> {
    pub(super) fn new(filter: &'a Filter) -> Self {
        let of_outcomes = Filter { run: None, train: None, key: None, ..filter.clone() };
        Self { filter, of_outcomes, uses: BTreeMap::new() }
    }

    pub(super) fn takes(&mut self, record: &Record) -> bool {
        let takes = self.filter.takes(record);
        match record.entry.event {
            Event::KeyUse if takes => drop(self.uses.insert(record.seq, None)),
            Event::KeyUsed | Event::Checkpoint => {
                if let Some(ended) = record.entry.of.and_then(|of| self.uses.get_mut(&of)) {
                    *ended = record.entry.outcome.clone();
                    return takes || self.of_outcomes.takes(record);
                }
            }
            _ => {}
        }
        takes
    }

    /// How a key use ended that was taken.
    pub(super) fn outcome(&self, seq: u64) -> Option<&String> {
        self.uses.get(&seq)?.as_ref()
    }

    /// Whether a record says no more than how a key use ended that was taken.
    pub(super) fn is_outcome(&self, record: &Record) -> bool {
        record.entry.event == Event::KeyUsed && record.entry.of.is_some_and(|of| self.uses.contains_key(&of))
    }
}
