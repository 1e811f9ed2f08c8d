//! Strict parser of tar headers.

use tar::Header;

use crate::ImageError;

/// Error text for a header of an unsupported dialect.
pub(super) const OTHER_DIALECT: &str = "a header that is neither POSIX's nor GNU's";
const NUMBER: ImageError = ImageError::Malformed("a number in a header");

/// A header's fields.
pub(crate) struct HeaderFields {
    /// The path with POSIX's prefix, up to the first NUL.
    pub path: Vec<u8>,
    pub mode: u64,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: u64,
    /// A link's target, up to the first NUL.
    pub link: Vec<u8>,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Whether the type is the old format's NUL.
    pub old_type: bool,
}

impl HeaderFields {
    /// Parses a POSIX or GNU header with a correct checksum.
    pub(crate) fn read(header: &Header) -> Result<Self, ImageError> {
        let block = header.as_bytes();
        let (before, after) = (&block[..148], &block[156..]);
        // The checksum's own field counts as spaces.
        let sum = before.iter().chain(after).map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ');
        if number(&block[148..156])? != sum {
            return Err(ImageError::Malformed("a checksum"));
        }
        // Also for other types: a reader that stops at an invalid number would see a shorter archive.
        let device = |field| number(field).and_then(|number| u32::try_from(number).map_err(|_| NUMBER));
        // These bytes mark the `star` format, which has a shorter prefix.
        if block[500..].iter().any(|byte| *byte != 0) {
            return Err(ImageError::Malformed(OTHER_DIALECT));
        }
        Ok(Self {
            path: path(block)?,
            mode: number(&block[100..108])?,
            uid: number(&block[108..116])?,
            gid: number(&block[116..124])?,
            size: number(&block[124..136])?,
            mtime: time(&block[136..148])?,
            link: until_nul(&block[157..257]).to_vec(),
            device: (device(&block[329..337])?, device(&block[337..345])?),
            old_type: block[156] == 0,
        })
    }
}

fn path(block: &[u8; 512]) -> Result<Vec<u8>, ImageError> {
    let name = until_nul(&block[..100]);
    let rest = &block[345..500];
    match &block[257..265] {
        b"ustar\x0000" => Ok(match until_nul(rest) {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }),
        // GNU has other fields at the position of POSIX's prefix. Few writers set them, and some readers take them for the prefix.
        b"ustar  \0" if rest.iter().all(|byte| *byte == 0) => Ok(name.to_vec()),
        b"ustar  \0" => Err(ImageError::Malformed("fields of GNU's that have another meaning to others")),
        _ => Err(ImageError::Malformed(OTHER_DIALECT)),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Parses a time in seconds. Times before 1970 (base 256 after a byte of 0xff, below zero) become 0.
fn time(field: &[u8]) -> Result<u64, ImageError> {
    if field[0] == 0xff { Ok(0) } else { number(field) }
}

/// Parses a number: octal digits with spaces around them, ended by a NUL, no digits being 0; or base 256 after a byte of 0x80, up
/// to 63 bits.
fn number(field: &[u8]) -> Result<u64, ImageError> {
    if let [0x80, digits @ ..] = field {
        let value = digits.iter().try_fold(0u64, |value, byte| Some(value.checked_mul(256)? | u64::from(*byte)));
        return value.filter(|value| i64::try_from(*value).is_ok()).ok_or(NUMBER);
    }
    let (text, rest) = field.split_at(field.iter().position(|byte| *byte == 0).unwrap_or(field.len()));
    // Some readers begin after NULs, others end there.
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err(NUMBER);
    }
    let text = std::str::from_utf8(text).map_err(|_| NUMBER)?;
    text.trim_matches(' ').bytes().try_fold(0u64, |value, byte| match byte {
        // At most 12 digits of 3 bits.
        b'0'..=b'7' => Ok(value * 8 + u64::from(byte - b'0')),
        _ => Err(NUMBER),
    })
}
