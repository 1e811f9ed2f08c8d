//! `trust verify`: checks the trust file, and which keys of a train it contains.

use std::path::PathBuf;

use serde_json::{Value, json};
use stationmaster_system::files::input;

use super::{
    TrustFileArgs,
    import::{MAX_SIZE, stated},
    shared,
};
use crate::{
    cli::{
        error::{CliError, Exit},
        output::{Output, fields, printable, table},
    },
    trust::{KeyVerdict, OwnerKind},
};

const AFTER: &str = "\
With a train_config.json the exit code is 4 unless every key in it is trusted or
is this station's own (`own`), which need not be in the file, because pre-run
compares it with the token. --config or --station names this station.

Examples:
  stationmaster trust verify
  stationmaster train inspect IMAGE --output json \\
      | jq .config > train_config.json \\
      && stationmaster trust verify train_config.json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train_config.json of a train
    train: Option<PathBuf>,
    /// This station's id, if no configuration names it
    #[arg(long, value_name = "ID", requires = "train")]
    station: Option<String>,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (path, store) = args.trust_file.read()?;
    let counts = [store.pins(OwnerKind::Creator).len(), store.pins(OwnerKind::Station).len(), store.masters().len()];
    let Some(train) = &args.train else {
        let [creators, stations, masters] = counts;
        let warnings = shared::warnings(&store);
        let value = json!({ "file": path, "creators": creators, "stations": stations, "masters": masters, "warnings": warnings });
        output.result(&value, || {
            fields(&[
                ("Trust file", format!("{} is valid", path.display())),
                ("Creators", creators.to_string()),
                ("Keys of stations", stations.to_string()),
                ("Masters", masters.to_string()),
            ]) + &shared::lines(&warnings)
        });
        return Ok(());
    };
    let bytes = input::read(train, MAX_SIZE).map_err(|error| CliError::file("read", train, &error))?;
    let own = args.station.clone().or_else(|| args.trust_file.station());
    let mut all = true;
    let (mut rows, mut values) = (Vec::new(), Vec::<Value>::new());
    for (kind, id, key) in stated(&bytes)? {
        let verdict = match store.check_key(kind, &id, &key) {
            KeyVerdict::Trusted => "trusted",
            KeyVerdict::Unknown if kind == OwnerKind::Station && own.as_ref() == Some(&id) => "own",
            KeyVerdict::Unknown => "unknown",
            KeyVerdict::OtherKey => "other-key",
        };
        all &= is_known(verdict);
        values.push(json!({ "kind": kind.name(), "id": id, "fingerprint": key.fingerprint(), "verdict": verdict }));
        rows.push(vec![kind.name().to_owned(), printable(&id), key.fingerprint(), verdict.to_owned()]);
    }
    if all {
        output.result(&json!({ "file": path, "keys": values, "trusted": true }), || {
            table(&["KIND", "ID", "FINGERPRINT", "VERDICT"], rows)
        });
        return Ok(());
    }
    let shown = table(&["KIND", "ID", "FINGERPRINT", "VERDICT"], rows);
    if !output.is_json() {
        output.result(&Value::Null, || shown);
    }
    let untrusted = values.iter().filter(|value| !value["verdict"].as_str().is_some_and(is_known)).count();
    let mut error = CliError::new(Exit::Refused, format!("{untrusted} of the train's {} keys are not trusted", values.len()))
        .with_hint("compare the fingerprints with their owners, then `trust import` or `trust add`");
    error.metadata.insert("keys".into(), Value::from(values).to_string());
    Err(error)
}

fn is_known(verdict: &str) -> bool {
    matches!(verdict, "trusted" | "own")
}
