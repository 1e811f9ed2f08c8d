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

/// Selects a log.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Source {
    /// The station's configuration
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG", help_heading = "Log")]
    config: Option<PathBuf>,
    /// A state directory, instead of a configuration
    #[arg(long, value_name = "DIR", help_heading = "Log")]
    state: Option<PathBuf>,
    /// The log
    #[arg(long, value_enum, default_value = "service", help_heading = "Log")]
    log: LogName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogName {
    /// The service's log
    Service,
    /// The log of administrators' commands
    Officer,
}

impl LogName {
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Service => audit::SERVICE,
            Self::Officer => audit::ADMINISTRATORS,
        }
    }
}

/// A position in a log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogPosition {
    segment: u64,
    bytes: u64,
}

impl Source {
    /// Returns the log's directories: its archive, if the configuration names one, and its own.
    fn directories(&self) -> Result<Vec<PathBuf>, CliError> {
        let log = self.log.directory();
        let state = self.state.clone().or_else(|| self.config.is_none().then(state_dir::state_variable).flatten());
        if let Some(state) = state {
            return Ok(vec![state.join("audit").join(log)]);
        }
        let config = self.config.as_ref().ok_or_else(|| {
            CliError::usage("no log is named: use --config FILE or --state DIR")
                .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands")
        })?;
        let config = Config::load(config)?;
        let archive = config.audit.archive.as_ref().map(|archive| archive.join(log)).filter(|archive| archive.is_dir());
        Ok(archive.into_iter().chain([config.audit_directory().join(log)]).collect())
    }

    /// Passes every record, with its file, to `take`, from the first one.
    pub(super) fn each(&self, take: impl FnMut(&Path, Line) -> Result<(), CliError>) -> Result<LogPosition, CliError> {
        self.after(LogPosition::default(), take)
    }

    /// The same, from a position. Returns the new position.
    pub(super) fn after(
        &self,
        mut position: LogPosition,
        mut take: impl FnMut(&Path, Line) -> Result<(), CliError>,
    ) -> Result<LogPosition, CliError> {
        for (number, path) in read::segments_of(&self.directories()?)? {
            if number < position.segment {
                continue;
            }
            let from = if number == position.segment { position.bytes } else { 0 };
            let mut segment = read::Segment::open_at(&path, from)?;
            let flaw = |error: read::LineError| {
                CliError::new(Exit::Other, format!("{}: {error}", path.display())).with_hint("`audit verify` shows details")
            };
            while let Some(line) = segment.next_record().map_err(flaw)? {
                take(&path, line)?;
            }
            position = LogPosition { segment: number, bytes: from + segment.whole() };
        }
        Ok(position)
    }
}

/// Selects records; all given conditions must be met.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Filter {
    /// Records of a run
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    run: Option<String>,
    /// Records of a train, by its id or session
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    train: Option<String>,
    /// Records of a principal
    #[arg(long, value_name = "NAME", help_heading = "Filter")]
    principal: Option<String>,
    /// Records of a key, by label or fingerprint
    #[arg(long, value_name = "LABEL", help_heading = "Filter")]
    key: Option<String>,
    /// The record of a refusal, by the id that its caller received
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    refusal: Option<String>,
    /// Records of one call
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    call: Option<String>,
    /// Records of an event: key-use, step, refusal, trust-changed, …
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true, help_heading = "Filter")]
    event: Option<Event>,
    /// Records from this time on (RFC 3339)
    #[arg(long, value_name = "TIME", help_heading = "Filter")]
    since: Option<jiff::Timestamp>,
    /// Records up to this time (RFC 3339)
    #[arg(long, value_name = "TIME", help_heading = "Filter")]
    until: Option<jiff::Timestamp>,
}

impl Filter {
    pub(super) fn matches(&self, record: &Record) -> bool {
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

/// Matches records with a filter, and the outcomes of matching key uses, which contain neither run nor train nor key themselves.
#[derive(Debug)]
pub(super) struct RecordMatcher<'a> {
    filter: &'a Filter,
    /// The filter without the conditions on fields that an outcome lacks.
    of_outcomes: Filter,
    /// RecordMatcher key uses: their numbers and outcomes.
    uses: BTreeMap<u64, Option<String>>,
}

impl<'a> RecordMatcher<'a> {
    pub(super) fn new(filter: &'a Filter) -> Self {
        let of_outcomes = Filter { run: None, train: None, key: None, ..filter.clone() };
        Self { filter, of_outcomes, uses: BTreeMap::new() }
    }

    pub(super) fn matches(&mut self, record: &Record) -> bool {
        let matches = self.filter.matches(record);
        match record.entry.event {
            Event::KeyUse if matches => drop(self.uses.insert(record.seq, None)),
            Event::KeyUsed | Event::Checkpoint => {
                if let Some(outcome) = record.entry.of.and_then(|of| self.uses.get_mut(&of)) {
                    *outcome = record.entry.outcome.clone();
                    return matches || self.of_outcomes.matches(record);
                }
            }
            _ => {}
        }
        matches
    }

    /// Returns the outcome of a matching key use.
    pub(super) fn outcome(&self, seq: u64) -> Option<&String> {
        self.uses.get(&seq)?.as_ref()
    }

    /// Returns whether a record is only the outcome of a matching key use.
    pub(super) fn is_outcome(&self, record: &Record) -> bool {
        record.entry.event == Event::KeyUsed && record.entry.of.is_some_and(|of| self.uses.contains_key(&of))
    }
}
