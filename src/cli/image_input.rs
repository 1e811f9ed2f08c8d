//! Images outside an engine that a command line names.

use stationmaster_image::archive::source::ImageInput;

use super::error::CliError;

/// Opens an image: `-` is an archive from standard input, a file is an archive, and a directory is an OCI layout, with `:TAG` one
/// of its images.
pub(super) fn open(place: &str) -> Result<ImageInput<'static>, CliError> {
    if place == "-" {
        return Ok(ImageInput::archive(std::io::stdin().lock()));
    }
    ImageInput::at(place).map_err(|error| CliError::file("open", place.as_ref(), &error))
}
