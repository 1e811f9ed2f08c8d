//! Finds this station's stop on the route, and checks that the train's state allows the stop to take it
//! (`docs/wire-format.md §7`, `§8`).

use std::fmt;

use super::config::{RouteStop, TrainConfig};

/// Index of a stop on a route, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StopIndex(u32);

impl StopIndex {
    /// Wraps an index, as the wire and the ledger have it.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Returns the index.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for StopIndex {
    type Error = RouteError;

    /// Converts the index that a config states.
    fn try_from(stated: i64) -> Result<Self, RouteError> {
        u32::try_from(stated).map(Self).map_err(|_| RouteError::BadIndices)
    }
}

impl fmt::Display for StopIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// This station's stop in one config. Only [`own_stop`] and [`stop_to_read`] create one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnStop {
    index: StopIndex,
    position: usize,
}

impl OwnStop {
    /// Returns the place on the route, from 0.
    pub fn index(&self) -> StopIndex {
        self.index
    }

    /// Returns the number of stops before this one.
    pub fn stops_before(&self) -> usize {
        self.index.get() as usize
    }

    /// Returns the place in [`TrainConfig::route`] as it was parsed.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether this is the first stop. Only the index decides: otherwise a train that states "no results yet" to a later stop
    /// would disable all checks there.
    pub fn is_first(&self) -> bool {
        self.index == StopIndex::new(0)
    }
}

/// Reason why this station cannot take the train now. Nothing here is secret. The sender's fault, or the train is at the wrong
/// station; a retry with the same train does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No stop names this station (a numeric station id never matches).
    #[error("this station is not on the route")]
    NotOnRoute,
    /// Two stops name this station.
    #[error("this station is on the route more than once")]
    StationTwice,
    /// Indices are not 0 to n-1, each once.
    #[error("the route's indices are not 0 to n-1, each once")]
    BadIndices,
    /// This station is the first stop, yet the train carries a results digest.
    #[error("the train carries results, but this is its first stop")]
    ResultAtFirstStop,
    /// This station is not the first stop, yet the train carries no results digest.
    #[error("the train carries no results digest, but this is not its first stop")]
    ResultMissing,
    /// An earlier stop has not signed.
    #[error("stop {index} before this one has not signed")]
    EarlierStopUnsigned {
        /// The stop's index.
        index: usize,
    },
    /// This stop or a later one has signed already.
    #[error("stop {index} has signed already: the train was here before")]
    AlreadySigned {
        /// The stop's index.
        index: usize,
    },
    /// A later stop has signed, and this one has not.
    #[error("stop {index} has not signed, but a later one has")]
    StopSkipped {
        /// The stop's index.
        index: usize,
    },
    /// No stop has signed, yet the train carries a results digest.
    #[error("the train carries a results digest, but no stop has signed")]
    ResultBeforeFirstStop,
    /// Stops have signed, yet the train carries no results digest.
    #[error("stops have signed, but the train carries no results digest")]
    ResultStripped,
    /// No envelope key is wrapped for this station.
    #[error("no key is wrapped for this station")]
    NoWrappedKey,
}

/// Finds this station's stop and checks everything about the route that needs no key: the station's id occurs once (as text),
/// the indices are 0 to n-1, results exist exactly if this is not the first stop, all earlier stops have signed and no other
/// has, and a key is wrapped for this station.
pub fn own_stop(config: &TrainConfig, station_id: &str) -> Result<OwnStop, RouteError> {
    let position = position_of(config, station_id)?;
    let stop = &config.route[position]; // `position_of` found it there
    let in_order = in_order(config)?;
    let own = OwnStop { index: StopIndex::try_from(stop.index)?, position };
    let before = own.stops_before();
    match (before, &config.result_hash) {
        (0, Some(_)) => return Err(RouteError::ResultAtFirstStop),
        (1.., None) => return Err(RouteError::ResultMissing),
        _ => {}
    }
    for (at, stop) in in_order.iter().enumerate() {
        match &stop.signature {
            None if at < before => return Err(RouteError::EarlierStopUnsigned { index: at }),
            Some(_) if at >= before => return Err(RouteError::AlreadySigned { index: at }),
            _ => {}
        }
    }
    if stop.encrypted_key.is_none() {
        return Err(RouteError::NoWrappedKey);
    }
    Ok(own)
}

/// Finds this station's stop in a train that is to be read and not run: before, at or after this stop, or at the end of its
/// route. The route must have the shape that any stop leaves, and a key must be wrapped for this station. Also returns the
/// number of stops that have signed.
pub fn stop_to_read(config: &TrainConfig, station_id: &str) -> Result<(OwnStop, usize), RouteError> {
    let position = position_of(config, station_id)?;
    let stop = &config.route[position]; // `position_of` found it there
    let signed = stops_signed(config)?;
    let index = StopIndex::try_from(stop.index)?;
    if stop.encrypted_key.is_none() {
        return Err(RouteError::NoWrappedKey);
    }
    Ok((OwnStop { index, position }, signed))
}

/// Returns the number of stops that have signed. The route must have the shape that any stop leaves: indices are 0 to n-1,
/// those that have signed are the first ones, and results are stated exactly if a stop has signed. Used to inspect a train without
/// being on its route.
pub fn stops_signed(config: &TrainConfig) -> Result<usize, RouteError> {
    let stops = in_order(config)?;
    let signed = first_signed(config);
    if stops[signed..].iter().any(|stop| stop.signature.is_some()) {
        return Err(RouteError::StopSkipped { index: signed });
    }
    match (signed, &config.result_hash) {
        (0, Some(_)) => Err(RouteError::ResultBeforeFirstStop),
        (1.., None) => Err(RouteError::ResultStripped),
        _ => Ok(signed),
    }
}

/// Returns how many consecutive stops have signed, from the lowest index on, for a route of any shape.
pub fn first_signed(config: &TrainConfig) -> usize {
    let mut stops: Vec<&RouteStop> = config.route.iter().collect();
    stops.sort_by_key(|stop| stop.index);
    stops.iter().take_while(|stop| stop.signature.is_some()).count()
}

/// Returns this station's place in [`TrainConfig::route`], for a train in any state: for showing a train, not for taking it.
pub fn position_of(config: &TrainConfig, station_id: &str) -> Result<usize, RouteError> {
    let is_ours = |stop: &RouteStop| stop.station.as_text() == Some(station_id);
    let mut ours = config.route.iter().enumerate().filter(|(_, stop)| is_ours(stop)).map(|(at, _)| at);
    let position = ours.next().ok_or(RouteError::NotOnRoute)?;
    if ours.next().is_some() { Err(RouteError::StationTwice) } else { Ok(position) }
}

/// Returns the stops by ascending index, or [`RouteError::BadIndices`] unless the indices are 0 to n-1, each once.
pub fn in_order(config: &TrainConfig) -> Result<Vec<&RouteStop>, RouteError> {
    let mut stops: Vec<&RouteStop> = config.route.iter().collect();
    stops.sort_by_key(|stop| stop.index);
    let exact = stops.iter().enumerate().all(|(at, stop)| usize::try_from(stop.index) == Ok(at));
    if exact { Ok(stops) } else { Err(RouteError::BadIndices) }
}

#[cfg(test)]
mod tests;
