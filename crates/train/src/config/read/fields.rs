//! Reads the fields of a JSON object and tracks their path for error messages.

use std::fmt;

use super::super::TrainConfigError;
use crate::json::Json;

/// Path of a value in the config. It is formatted only for an error.
#[derive(Clone, Copy)]
pub(super) enum FieldPath<'a> {
    Root,
    Field(&'a FieldPath<'a>, &'static str),
    Item(&'a FieldPath<'a>, usize),
}

impl FieldPath<'_> {
    pub(super) fn is_missing(&self) -> TrainConfigError {
        TrainConfigError::Missing { field: self.to_string() }
    }

    pub(super) fn is_not(&self, expected: &'static str) -> TrainConfigError {
        TrainConfigError::WrongType { field: self.to_string(), expected }
    }

    pub(super) fn is_longer_than(&self, most: usize) -> TrainConfigError {
        TrainConfigError::TooLong { field: self.to_string(), most }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the whole"),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, position) => write!(f, "{parent}[{position}]"),
        }
    }
}

/// An object whose known fields are taken out one by one. The remaining fields are dropped, as train_lib does.
pub(super) struct Fields<'a> {
    at: FieldPath<'a>,
    fields: Vec<(String, Json)>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(at: FieldPath<'a>, json: Json) -> Result<Self, TrainConfigError> {
        match json {
            Json::Object(fields) => Ok(Self { at, fields }),
            _ => Err(at.is_not("an object")),
        }
    }

    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(FieldPath, Json) -> Result<T, TrainConfigError>,
    ) -> Result<T, TrainConfigError> {
        self.optional(name, read)?.ok_or_else(|| FieldPath::Field(&self.at, name).is_missing())
    }

    /// Reads an optional field. Missing and null are equal.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(FieldPath, Json) -> Result<T, TrainConfigError>,
    ) -> Result<Option<T>, TrainConfigError> {
        let Some((_, slot)) = self.fields.iter_mut().find(|(key, _)| key == name) else {
            return Ok(None);
        };
        match std::mem::replace(slot, Json::Null) {
            Json::Null => Ok(None),
            value => read(FieldPath::Field(&self.at, name), value).map(Some),
        }
    }
}
