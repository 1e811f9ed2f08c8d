//! Rules: which call of which function fails, when and how.

use std::{path::PathBuf, thread::sleep, time::Duration};

use cryptoki_sys::CK_RV;

use crate::{function, mechanism::Condition, values};

/// One line of the file.
pub(crate) struct Rule {
    /// A name of the standard, or `*`.
    pub(crate) function: String,
    /// Only calls with such a mechanism count.
    pub(crate) mechanism: Option<Condition>,
    pub(crate) which: Which,
    pub(crate) moment: Moment,
    pub(crate) action: Action,
}

/// Calls by number, from 1.
pub(crate) enum Which {
    Only(u64),
    From(u64),
}

impl Which {
    pub(crate) fn includes(&self, call: u64) -> bool {
        match *self {
            Which::Only(number) => call == number,
            Which::From(first) => call >= first,
        }
    }
}

/// Before or after the real call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

#[derive(Clone)]
pub(crate) enum Action {
    Return(CK_RV),
    Delay(Duration),
    /// Until the file is removed; without a file for ever.
    Hang(Option<PathBuf>),
    Crash,
}

impl Action {
    /// Performs the action; returns the value that the call shall return, if the action decides it.
    pub(crate) fn perform(&self) -> Option<CK_RV> {
        match self {
            Action::Return(value) => return Some(*value),
            Action::Delay(time) => sleep(*time),
            Action::Hang(until) => {
                while until.as_ref().is_none_or(|file| file.exists()) {
                    sleep(Duration::from_millis(2));
                }
            }
            Action::Crash => std::process::abort(),
        }
        None
    }
}

/// Parses the rules. An error names the line.
pub(crate) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| rule(line).ok_or_else(|| format!("no rule: {line:?}"))).collect()
}

fn rule(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let (name, mechanism) = match words.next()?.split_once('[') {
        None => (line.split_whitespace().next()?, None),
        Some((name, condition)) => (name, Some(Condition::parse(condition.strip_suffix(']')?)?)),
    };
    let function = (name == "*" || function::exists(name)).then(|| name.to_owned())?;
    let which = match words.next()? {
        "every" => Which::From(1),
        "from" => Which::From(words.next()?.parse().ok()?),
        number => Which::Only(number.parse().ok()?),
    };
    let moment = match words.next()? {
        "before" => Moment::Before,
        "after" => Moment::After,
        _ => return None,
    };
    let action = match (words.next()?, words.next(), words.next()) {
        ("return", Some(value), None) => Action::Return(values::number(value)?),
        ("delay", Some(milliseconds), None) => Action::Delay(Duration::from_millis(milliseconds.parse().ok()?)),
        ("hang", None, None) => Action::Hang(None),
        ("hang", Some("until"), Some(file)) => Action::Hang(Some(PathBuf::from(file))),
        ("crash", None, None) => Action::Crash,
        _ => return None,
    };
    words.next().is_none().then_some(Rule { function, mechanism, which, moment, action })
}
