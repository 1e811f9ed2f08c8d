//! Receives an archive that a caller uploads, completely before a step uses it: an upload takes a place among the uploads,
//! limited in rate, time and size, and a place among the steps only once it is complete.

mod early;

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use stationmaster_image::{ImageError, disk::spool::Spool};
use stationmaster_proto as pb;
use stationmaster_proto::{open_results_request, verify_train_request::Part};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use self::early::Early;
use super::{
    shares::{Bounds, Place, Shares},
    status::{Reason, Refusal},
};
use crate::protocol::{Caller, Station};

/// Time that a caller may keep the service waiting before its rate counts: a connection needs a moment.
const GRACE: Duration = Duration::from_secs(10);
/// Number of bytes collected before they are written to disk.
const GATHERED: usize = 1 << 20;

/// The uploads of all callers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Uploads {
    places: Shares,
    bounds: Bounds,
    /// Number of bytes of each principal's uploads.
    held: Arc<Mutex<HashMap<String, u64>>>,
    draining: CancellationToken,
}

impl Uploads {
    /// Makes the uploads within `bounds`, until the service drains.
    pub(crate) fn new(bounds: Bounds, draining: CancellationToken) -> Self {
        Self { places: Shares::new(bounds.uploads), bounds, held: Arc::default(), draining }
    }

    /// Receives an archive.
    ///
    /// # Errors
    /// When no place is free, the archive exceeds a limit on size, rate or time, the service ends, or a message is invalid.
    pub(crate) async fn receive<M: Message>(
        &self,
        station: &Arc<Station>,
        caller: &Caller,
        (mut parts, first): (Streaming<M>, Vec<u8>),
    ) -> Result<Archive, Refusal> {
        let place = self.places.take(caller.principal());
        let place = place.map_err(|full| Refusal::full(caller.principal(), full, "limits.uploads", "limits.uploads"))?;
        let share = Share { of: Arc::clone(&self.held), principal: caller.principal().to_owned(), bytes: 0 };
        let spool = Spool::create(&station.spool_directory, 0, station.spool_reserve)?;
        let mut archive = Archive { spool, read: 0, share, _place: place };
        let mut meter = Meter { bounds: &self.bounds, begun: Instant::now(), waited: Duration::ZERO, bytes: 0 };
        let mut early = Early::of(caller);
        meter.take(first.len() as u64)?;
        early.look(&first)?;
        let mut gathered = first;
        loop {
            let mut ended = false;
            while gathered.len() < GATHERED && !ended {
                match self.next(&mut parts, &mut meter).await? {
                    Some(piece) => {
                        meter.take(piece.len() as u64)?;
                        early.look(&piece)?;
                        gathered.extend_from_slice(&piece);
                    }
                    None => ended = true,
                }
            }
            archive = keep(Arc::clone(station), archive, std::mem::take(&mut gathered), ended).await?;
            if ended {
                return Ok(archive);
            }
        }
    }

    /// Returns the next piece, if it arrives in time.
    async fn next<M: Message>(&self, parts: &mut Streaming<M>, meter: &mut Meter<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let (left, limit) = meter.left();
        let begun = Instant::now();
        let message = tokio::select! {
            biased;
            () = self.draining.cancelled() => return Err(Reason::ShuttingDown.into()),
            message = tokio::time::timeout(left, parts.message()) => message.map_err(|_| limited(limit))?,
        };
        meter.waited += begun.elapsed();
        match message.map_err(|status| Refusal::of_transport(&status))? {
            None => Ok(None),
            Some(message) => match message.piece() {
                None => Err(Reason::MalformedRequest.status("only pieces of the archive follow its first")),
                piece => Ok(piece),
            },
        }
    }
}

fn limited(limit: &'static str) -> Refusal {
    let text = match limit {
        "upload_mib" => "the archive is larger than this station takes",
        "upload_s" => "the archive takes longer than this station waits for one",
        _ => "the archive comes more slowly than this station waits for one",
    };
    Reason::LimitExceeded.status(text).with_meta("limit", limit)
}

/// Measures the rate of an upload. Only the time that the caller keeps the service waiting counts.
struct Meter<'a> {
    bounds: &'a Bounds,
    begun: Instant,
    waited: Duration,
    bytes: u64,
}

impl Meter<'_> {
    fn take(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.bytes += bytes;
        if self.bytes > self.bounds.upload_bytes { Err(limited("upload_mib")) } else { Ok(()) }
    }

    /// Returns how long the next piece may take, and the limit that it would exceed.
    fn left(&self) -> (Duration, &'static str) {
        let rate = self.bounds.upload_rate.max(1);
        let of_rate = (GRACE + Duration::from_secs_f64(self.bytes as f64 / rate as f64)).saturating_sub(self.waited);
        let of_all = self.bounds.upload_time.saturating_sub(self.begun.elapsed());
        if of_rate < of_all { (of_rate, "upload_min_kib_s") } else { (of_all, "upload_s") }
    }
}

/// Appends bytes to an archive, on a blocking thread.
async fn keep(station: Arc<Station>, mut archive: Archive, bytes: Vec<u8>, ended: bool) -> Result<Archive, Refusal> {
    let kept = tokio::task::spawn_blocking(move || -> Result<Archive, ImageError> {
        archive.share.grow(bytes.len() as u64, &station)?;
        archive.spool.check_space(bytes.len() as u64)?;
        archive.spool.append(&bytes)?;
        if ended {
            archive.spool.flush()?;
        }
        Ok(archive)
    });
    Ok(kept.await.map_err(|_| Refusal::from(Reason::Invariant))??)
}

/// Number of bytes of one upload, counted together with its principal's others.
struct Share {
    of: Arc<Mutex<HashMap<String, u64>>>,
    principal: String,
    bytes: u64,
}

impl Share {
    /// Counts further bytes. A principal's uploads may take half of the space that would be free without them.
    fn grow(&mut self, more: u64, station: &Station) -> Result<(), ImageError> {
        let disk = rustix::fs::statvfs(&station.spool_directory).map_err(ImageError::at("spool"))?;
        let free = (disk.f_bavail * disk.f_frsize).saturating_sub(station.spool_reserve);
        let mut of = self.held();
        let held = of.entry(self.principal.clone()).or_default();
        let most = (free + *held) / 2;
        if *held + more > most {
            return Err(ImageError::DiskFull { place: "spool", needed: more, free: most.saturating_sub(*held) });
        }
        *held += more;
        drop(of);
        self.bytes += more;
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut of = self.held();
        if let Some(held) = of.get_mut(&self.principal) {
            *held -= self.bytes;
            if *held == 0 {
                of.remove(&self.principal);
            }
        }
    }
}

/// A complete archive, to be read by a step.
pub(crate) struct Archive {
    spool: Spool,
    read: u64,
    share: Share,
    _place: Place,
}

impl Archive {
    /// Returns a reader of the archive that fails when the step is cancelled.
    pub(crate) fn until(self, cancel: CancellationToken) -> impl Read {
        Cancellable { archive: self, cancel }
    }
}

struct Cancellable {
    archive: Archive,
    cancel: CancellationToken,
}

impl Read for Cancellable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(ImageError::Cancelled));
        }
        let Archive { spool, read, .. } = &mut self.archive;
        let left = usize::try_from(spool.len() - *read).unwrap_or(usize::MAX);
        let n = buffer.len().min(left);
        if n > 0 {
            spool.read(*read, &mut buffer[..n]).map_err(io::Error::other)?;
        }
        *read += n as u64;
        Ok(n)
    }
}

/// A message that may contain a piece of an archive.
pub(crate) trait Message: Send + 'static {
    /// Returns the piece, if the message contains it and nothing else.
    fn piece(self) -> Option<Vec<u8>>;
}

impl Message for pb::VerifyTrainRequest {
    fn piece(self) -> Option<Vec<u8>> {
        match self.part {
            Some(Part::Archive(piece)) => Some(piece),
            _ => None,
        }
    }
}

impl Message for pb::OpenResultsRequest {
    fn piece(self) -> Option<Vec<u8>> {
        match self.part {
            Some(open_results_request::Part::Archive(piece)) if self.paths.is_empty() => Some(piece),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_is_too_slow_too_late_or_too_large_receives_the_cause() {
        let bounds = Bounds { runs: 1, uploads: 1, upload_bytes: 1000, upload_rate: 100, upload_time: Duration::from_secs(3600) };
        let mut meter = Meter { bounds: &bounds, begun: Instant::now(), waited: Duration::ZERO, bytes: 0 };
        assert_eq!(meter.left(), (GRACE, "upload_min_kib_s"));
        meter.take(500).unwrap();
        meter.waited = GRACE + Duration::from_secs(4);
        assert_eq!(meter.left(), (Duration::from_secs(1), "upload_min_kib_s"), "500 bytes are good for five seconds");
        meter.waited += Duration::from_secs(2);
        assert_eq!(meter.left().0, Duration::ZERO);
        assert!(meter.take(501).is_err());
        let bounds = Bounds { upload_time: Duration::from_secs(1), ..bounds };
        let meter = Meter { bounds: &bounds, begun: Instant::now(), waited: Duration::ZERO, bytes: 0 };
        assert_eq!(meter.left().1, "upload_s");
    }
}
