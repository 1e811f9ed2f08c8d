//! Sanitises the `:authority` of clients that put the path of a Unix socket into it.
//!
//! gRPC's C core (Python, Ruby, PHP, C++) sends the path percent-encoded, as `%2Frun%2Fapi.sock`. RFC 3986 allows that in a
//! host; the HTTP library does not, and resets the stream. On a Unix socket the authority has no meaning, so each `%` in it is
//! replaced by `-` before HTTP/2 is parsed: the length is unchanged, and with it every frame and the header compression. The
//! stream is parsed byte by byte, and nothing else in it is changed.

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// The name as the C core encodes it: a literal of ten bytes, never Huffman-coded.
const NAME: &[u8] = b"\x0a:authority";
/// HEADERS and CONTINUATION: the frame types that carry header blocks.
const OF_HEADERS: [u8; 2] = [0x1, 0x9];

/// Position of the parser in a client's byte stream.
#[derive(Debug)]
pub(super) struct Authority {
    preface: usize,
    header: [u8; FRAME_HEADER],
    header_read: usize,
    /// Bytes of the frame's payload that are still expected.
    payload: u32,
    looked_into: bool,
    within: Within,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Number of bytes of the name that have matched.
    Name(usize),
    /// The value's length is next.
    Length,
    /// The length is 127 plus the value of the next byte.
    LongLength,
    /// Number of bytes of the value that are still expected.
    Value(u32),
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            preface: PREFACE,
            header: [0; FRAME_HEADER],
            header_read: 0,
            payload: 0,
            looked_into: false,
            within: Within::Name(0),
        }
    }
}

impl Authority {
    /// Replaces the characters that the HTTP library would refuse in the next bytes of the stream.
    pub(super) fn sanitise(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.preface > 0 {
                let n = self.preface.min(bytes.len() - at);
                self.preface -= n;
                at += n;
            } else if self.payload == 0 {
                self.header[self.header_read] = bytes[at];
                self.header_read += 1;
                at += 1;
                if self.header_read == FRAME_HEADER {
                    self.header_read = 0;
                    self.payload = u32::from_be_bytes([0, self.header[0], self.header[1], self.header[2]]);
                    self.looked_into = OF_HEADERS.contains(&self.header[3]);
                }
            } else {
                let n = usize::try_from(self.payload).map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
                if self.looked_into {
                    bytes[at..at + n].iter_mut().for_each(|byte| self.look_at(byte));
                }
                // At most the rest of the payload.
                self.payload -= n as u32;
                at += n;
            }
        }
    }

    fn look_at(&mut self, byte: &mut u8) {
        self.within = match self.within {
            Within::Name(seen) if *byte == NAME[seen] => {
                if seen + 1 == NAME.len() {
                    Within::Length
                } else {
                    Within::Name(seen + 1)
                }
            }
            Within::Name(_) => Within::Name(usize::from(*byte == NAME[0])),
            // RFC 7541, 5.1: 127 means that the length continues.
            Within::Length if *byte == 0x7f => Within::LongLength,
            // Huffman-coded or empty values are left unchanged. So are values longer than a socket's path can be.
            Within::Length if *byte > 0x7f || *byte == 0 => Within::Name(0),
            Within::LongLength if *byte > 0x7f => Within::Name(0),
            Within::LongLength => Within::Value(0x7f + u32::from(*byte)),
            Within::Length => Within::Value(u32::from(*byte)),
            Within::Value(left) => {
                if *byte == b'%' {
                    *byte = b'-';
                }
                if left == 1 { Within::Name(0) } else { Within::Value(left - 1) }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 4, 0, 0, 0, 1], payload].concat()
    }

    fn sent(authority: &str) -> Vec<u8> {
        let length = match u8::try_from(authority.len()).unwrap() {
            length @ 0..0x7f => vec![length],
            length => vec![0x7f, length - 0x7f],
        };
        let block = [b"\x83\x40\x0a:authority", &length[..], authority.as_bytes(), b"\x86%"].concat();
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, b"%"), frame(1, &block), frame(0, &block)].concat()
    }

    #[test]
    fn a_path_in_the_authority_of_a_header_block_is_corrected_and_nothing_else_is_changed() {
        let long = format!("%2Frun%2F{}.sock", "a".repeat(150));
        for path in ["localhost", "%2Frun%2Fapi.sock", &long] {
            let before = sent(path);
            let mut after = before.clone();
            let at = before.windows(path.len()).position(|window| window == path.as_bytes()).unwrap();
            after[at..at + path.len()].copy_from_slice(path.replace('%', "-").as_bytes());
            for pieces in [1, 2, 3, 7, before.len()] {
                let (mut authority, mut bytes) = (Authority::default(), before.clone());
                bytes.chunks_mut(pieces).for_each(|piece| authority.sanitise(piece));
                assert_eq!(bytes, after, "{path} in pieces of {pieces}");
            }
        }
    }
}
