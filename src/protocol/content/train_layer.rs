//! The new layer of a run's image: its content is read from the spool, sealed or opened, while the layer is written.

use std::io::Write;

use stationmaster_image::{
    store::recipe::{LayerSource, WriteError},
    tar::layer_writer::{LayerPlan, write_archive},
};
use stationmaster_train::envelope::EnvelopeKey;

use super::sealed_contents::{Content, Contents};
use crate::protocol::context::{call_context::CallContext, error::StepError};

/// A planned layer, and the content of its files.
pub(in crate::protocol) struct TrainLayer<'a> {
    plan: &'a LayerPlan<'a, Content>,
    contents: &'a Contents,
    key: &'a EnvelopeKey,
    step: &'a CallContext<'a>,
    /// Bytes of content written so far.
    done: u64,
}

impl<'a> TrainLayer<'a> {
    /// Returns the layer of a plan; `key` opens the content.
    pub(crate) fn new(
        plan: &'a LayerPlan<'a, Content>,
        contents: &'a Contents,
        key: &'a EnvelopeKey,
        step: &'a CallContext<'a>,
    ) -> Self {
        Self { plan, contents, key, step, done: 0 }
    }
}

impl LayerSource for TrainLayer<'_> {
    fn size(&self) -> u64 {
        self.plan.len()
    }

    fn write(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        let Self { plan, contents, key, step, done } = self;
        let total = plan.content_len();
        let written = write_archive(out, plan, |content: &Content, each| {
            content.write(contents, key, &mut |bytes| {
                step.check_cancelled()?;
                *done += bytes.len() as u64;
                // More than the total is sent if the content has to be sent to the engine again.
                (step.progress)("write", (*done).min(total), total);
                each(bytes)
            })
        });
        written.map_err(StepError::into)
    }
}
