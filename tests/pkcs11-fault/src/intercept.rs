//! Applies the rules to a call, and writes it to the journal.

use std::{
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cryptoki_sys::CK_RV;

use crate::{
    VARIABLE, function, journal,
    mechanism::Mechanism,
    rules::{Action, Moment, Rule, parse},
};

static STATE: Mutex<State> = Mutex::new(State { directory: PathBuf::new(), version: None, rules: Vec::new() });

struct State {
    directory: PathBuf,
    /// Inode, time and size of the rules that were read. A test replaces the file.
    version: Option<(u64, i64, i64, u64)>,
    /// Rules, and the number of calls that each has counted.
    rules: Vec<(Rule, u64)>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads from the environment which directory is meant, and returns it.
pub(crate) fn directory() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os(VARIABLE)?);
    let mut state = state();
    if state.directory != directory {
        *state = State { directory: directory.clone(), version: None, rules: Vec::new() };
    }
    Some(directory)
}

/// Makes a call, unless a rule replaces it. `real` is given the session for the journal, which it may correct.
pub(crate) fn intercept(
    number: usize,
    mut session: u64,
    mechanism: Option<Mechanism>,
    real: impl FnOnce(&mut u64) -> CK_RV,
) -> CK_RV {
    let name = function::name(number);
    if name == "C_Initialize" {
        // Another test of the process may use another directory by now.
        directory();
    }
    let (directory, due) = {
        let mut state = state();
        (state.directory.clone(), state.due(name, mechanism))
    };
    journal::begin(&directory, name, session);
    let perform = |moment| due.iter().filter(|(at, _)| *at == moment).find_map(|(_, action)| action.perform());
    let (value, returned) = match perform(Moment::Before) {
        Some(replaced) => (None, replaced),
        None => {
            let value = real(&mut session);
            (Some(value), perform(Moment::After).unwrap_or(value))
        }
    };
    journal::end(&directory, name, session, value, returned);
    returned
}

impl State {
    /// Counts a call, and returns the actions that it is due.
    fn due(&mut self, name: &str, mechanism: Option<Mechanism>) -> Vec<(Moment, Action)> {
        self.refresh();
        let mut due = Vec::new();
        let concerns = |rule: &Rule| {
            (rule.function == "*" || rule.function == name)
                && rule.mechanism.is_none_or(|condition| mechanism.is_some_and(|mechanism| condition.includes(mechanism)))
        };
        for (rule, calls) in self.rules.iter_mut().filter(|(rule, _)| concerns(rule)) {
            *calls += 1;
            if rule.which.includes(*calls) {
                due.push((rule.moment, rule.action.clone()));
            }
        }
        due
    }

    fn refresh(&mut self) {
        let path = self.directory.join("rules");
        let Ok(about) = path.metadata() else {
            (self.version, self.rules) = (None, Vec::new());
            return;
        };
        let version = Some((about.ino(), about.mtime(), about.mtime_nsec(), about.size()));
        if version == self.version {
            return;
        }
        let rules = std::fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| parse(&text));
        match rules {
            Ok(rules) => (self.version, self.rules) = (version, rules.into_iter().map(|rule| (rule, 0)).collect()),
            Err(error) => {
                // A test whose rule does not apply would pass without a reason.
                eprintln!("{}: {error}", path.display());
                std::process::abort();
            }
        }
    }
}
