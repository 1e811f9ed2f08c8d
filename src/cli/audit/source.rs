//! Which log is read, and which of its records.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::{
    audit::{Record, read},
    cli::error::{CliError, Exit},
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
enum Which {
    /// The service's
    Service,
    /// Those of the officer's commands
    Officer,
}

/// How far a log was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    segment: u64,
    bytes: u64,
}

impl Source {
    /// The log's directory.
    pub(super) fn directory(&self) -> Result<PathBuf, CliError> {
        let log = match self.log {
            Which::Service => "service",
            Which::Officer => "officer",
        };
        if let Some(state) = &self.state {
            return Ok(state.join("audit").join(log));
        }
        let config = self.config.as_ref().ok_or_else(|| CliError::usage("which log? --config FILE or --state DIR"))?;
        Ok(Config::load(config)?.audit_directory().join(log))
    }

    /// Hands over every record with its line, from the first that is there.
    pub(super) fn each(&self, take: impl FnMut(&[u8], Record) -> Result<(), CliError>) -> Result<Place, CliError> {
        self.after(Place::default(), take)
    }

    /// The same, from a place on.
    pub(super) fn after(
        &self,
        mut place: Place,
        mut take: impl FnMut(&[u8], Record) -> Result<(), CliError>,
    ) -> Result<Place, CliError> {
        for (number, path) in read::segments(&self.directory()?)? {
            if number < place.segment {
                continue;
            }
            let from = if number == place.segment { place.bytes } else { 0 };
            let mut segment = read::Segment::open_at(&path, from)?;
            let flaw = |error: read::LineError| {
                CliError::new(Exit::Other, format!("{}: {error}", path.display())).with_hint("`audit verify` tells more")
            };
            while let Some((line, record)) = segment.next().map_err(flaw)? {
                take(&line, record)?;
            }
            place = Place { segment: number, bytes: from + segment.whole() };
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
    #[arg(long, value_name = "NAME", help_heading = "Which records")]
    event: Option<String>,
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
            && is(&self.event, Some(&entry.event.name()))
            && either(&self.train, entry.train.as_ref().map(|train| [&train.id, &train.session]))
            && either(&self.key, entry.key.as_ref().map(|key| [&key.label, &key.fingerprint]))
            && self.since.is_none_or(|since| record.time() >= since.as_microsecond())
            && self.until.is_none_or(|until| record.time() <= until.as_microsecond())
    }
}
