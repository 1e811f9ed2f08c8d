//! The one answer that carries a secret, encoded by hand: so that it does not stay in the connection's memory.
//!
//! HTTP/2's library copies the first bytes of what it sends (256, or 1,024 on a transport without vectored writes) into a buffer
//! that lives as long as the connection, and sends what follows from where it lies. So the key comes after padding.

use std::fmt;

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};

const KEY: u32 = 1;
const PADDING: u32 = 2;
static ZEROS: [u8; 1024] = [0; 1024];

/// An opened key (`stationmaster.v1.UnwrapKeyResponse`). Its padding is written, and not kept when it is read.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UnwrapKeyResponse {
    /// The symmetric key's bytes.
    pub key: Vec<u8>,
}

impl fmt::Debug for UnwrapKeyResponse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("UnwrapKeyResponse(..)")
    }
}

impl Message for UnwrapKeyResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        encoding::encode_key(PADDING, WireType::LengthDelimited, buffer);
        encoding::encode_varint(ZEROS.len() as u64, buffer);
        buffer.put_slice(&ZEROS);
        if !self.key.is_empty() {
            encoding::bytes::encode(KEY, &self.key, buffer);
        }
    }

    fn encoded_len(&self) -> usize {
        let padding = encoding::key_len(PADDING) + encoding::encoded_len_varint(ZEROS.len() as u64) + ZEROS.len();
        padding + if self.key.is_empty() { 0 } else { encoding::bytes::encoded_len(KEY, &self.key) }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            KEY => encoding::bytes::merge(wire_type, &mut self.key, buffer, context),
            _ => encoding::skip_field(wire_type, tag, buffer, context),
        }
    }

    fn clear(&mut self) {
        self.key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_last_thing_that_is_written() {
        for key in [vec![], vec![7; 32]] {
            let answer = UnwrapKeyResponse { key: key.clone() };
            let written = answer.encode_to_vec();
            assert!(written.len() == answer.encoded_len() && written.len() > ZEROS.len() && written.ends_with(&key));
            assert_eq!(UnwrapKeyResponse::decode(&written[..]).unwrap(), answer);
        }
    }
}
