//! Attacks on HTTP/2 and on connections by a principal that may connect: the service stays up, answers others meanwhile, and its memory and
//! files stay bounded. `docs/limits.md` has the figures that these print. And what a caller costs at most: records, lines, places.

mod attack;
pub mod honest;
mod refused;
mod shares;

use self::attack::Attack;

/// An attack through the Unix socket and over TCP.
macro_rules! attacks {
    ($($name:ident: $attack:expr,)*) => {
        $(#[test]
        fn $name() {
            $attack.over_both();
        })*
    };
}

attacks! {
    ten_thousand_rapid_resets: Attack::of("rapid-reset"),
    a_header_block_that_never_ends: Attack::of("continuation").closes(20),
    empty_data_frames: Attack::of("empty-data"),
    pings_whose_answers_nobody_reads: Attack::of("ping-flood").closes(1),
    settings_whose_answers_nobody_reads: Attack::of("settings-flood").closes(1),
    answers_that_are_given_no_room: Attack::of("slow-read").hashing().closes(1),
    answers_that_nobody_reads: Attack::of("no-read").reflecting().closes(1),
    a_preface_byte_by_byte: Attack::of("slow-preface").closes(60),
    headers_byte_by_byte: Attack::of("slow-headers").closes(60),
    bodies_that_never_come: Attack::of("slow-body").closes(2),
    a_message_said_to_have_four_gigabytes: Attack::of("length").answers("8"),
    a_compressed_message: Attack::of("compressed").answers("12"),
    headers_beyond_the_limit: Attack::of("big-headers").answers("closed"),
    a_message_beyond_the_limit: Attack::of("big-message"),
    five_hundred_connections: Attack::of("connections").crowds().closes(500),
}

#[test]
fn tls_handshakes_byte_by_byte() {
    // More than may be under way: for a moment, who is in the middle of one is given up with the oldest.
    Attack::of("slow-handshake").without_handshake().crowds().closes(100).over_tcp();
}

#[test]
fn five_hundred_connections_without_a_handshake() {
    Attack::of("connections").without_handshake().crowds().closes(500).over_tcp();
}
