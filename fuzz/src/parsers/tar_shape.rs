//! Archives, made and changed with their checksums right: without that, a blind change never gets past the first check.

use tar::{EntryType, Header};

use super::random::Random;

const BLOCK: usize = 512;

/// Bytes that a field or a record may be given.
const NAMES: &[&[u8]] = &[
    b"opt/",
    b"opt/pht_train/",
    b"opt/pht_results/",
    b"opt/pht_train/a",
    b"opt/pht_train/b",
    b"opt/pht_results/r",
    b"opt/tool",
    b"opt/pht_train/a/",
    b"opt/train_config.json",
    b"opt/pht_train/../x",
    b"../x",
    b"/etc/passwd",
    b"opt/pht_train/.wh.a",
    b"",
    b"opt/pht_train/a\0b",
    b"opt/pht_train/\xff",
    b"opt//pht_train/a",
    b"./opt/pht_train/a",
    b"pht_train/a",
    b"opt",
    b"a\\b",
];
const NUMBERS: &[&[u8]] = &[
    b"0000000\0",
    b"0000644\0",
    b"00000000001\0",
    b"00000001000\0",
    b"77777777777\0",
    b"777777777777",
    b" 1 \0",
    b"+1\0",
    b"-1\0",
    b"0o7\0",
    b"1_0\0",
    b"8\0",
    b"\0",
    b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\0\0\0\0\0\0\x01",
    b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xc2\xa07\0",
    b"00000000002\0",
    b"00000001001\0",
];
const TYPES: &[u8] = b"0000055\x001234567LKxgSXVMDNA";
const MAGICS: &[&[u8]] = &[b"ustar\x0000", b"ustar  \0", b"\0\0\0\0\0\0\0\0", b"ustar\0\0\0", b"ustar  0"];
const KEYWORDS: &[&str] = &[
    "path",
    "path",
    "size",
    "uid",
    "gid",
    "mtime",
    "linkpath",
    "hdrcharset",
    "comment",
    "GNU.sparse.size",
    "GNU.sparse.map",
    "GNU.sparse.major",
    "SCHILY.xattr.user.x",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
];
const VALUES: &[&[u8]] = &[
    b"opt/pht_train/p",
    b"opt/pht_results/q/",
    b"0",
    b"1",
    b"512",
    b"+5",
    b"",
    b"\n27 path=opt/pht_train/evil\n",
    b"BINARY",
    b"1.5",
    b"\n\n",
    b"4294967296",
    b"99999999999999999999",
    b"0,1",
    b"opt/pht_train/\xfe",
    b"a=b",
];
/// Fields by offset and length: name, mode, uid, gid, size, mtime, linkname, uname, devmajor, devminor, prefix.
const NUMBER_FIELDS: [(usize, usize); 7] = [(100, 8), (108, 8), (116, 8), (124, 12), (124, 12), (136, 12), (329, 8)];

/// An entry with its header's checksum set after `change`.
pub fn entry(name: &[u8], kind: u8, content: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let len = name.len().min(100);
    header.as_old_mut().name[..len].copy_from_slice(&name[..len]);
    header.set_entry_type(EntryType::new(kind));
    header.as_mut_bytes()[156] = kind;
    header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    change(header.as_mut_bytes());
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// PAX records, each with its right length.
pub fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (keyword, value) in records {
        let rest = keyword.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        out.extend(format!("{length} {keyword}=").bytes());
        out.extend(*value);
        out.push(b'\n');
    }
    out
}

/// Entries one after the other, and the two blocks that end an archive.
pub fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = entries.concat();
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// Where headers begin, as far as the sizes in them say.
fn headers(archive: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(block) = archive.get(at..at + BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        found.push(at);
        at += BLOCK + size(block).next_multiple_of(BLOCK);
    }
    found
}

/// What a header says, if that is a sensible size.
fn size(block: &[u8]) -> usize {
    let digits = block[124..136].iter().take_while(|byte| (b'0'..=b'7').contains(*byte));
    let size = digits.fold(0usize, |size, digit| size.saturating_mul(8).saturating_add(usize::from(digit - b'0')));
    if size <= 1 << 20 { size } else { 0 }
}

/// Sets every checksum, also in archives inside.
pub fn mend(archive: &mut [u8]) {
    for at in headers(archive) {
        let size = size(&archive[at..at + BLOCK]);
        let block = &mut archive[at..at + BLOCK];
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let end = (at + BLOCK + size).min(archive.len());
        let content = &mut archive[at + BLOCK..end];
        if content.len() >= BLOCK && &content[257..262] == b"ustar" {
            mend(content);
        }
    }
}

/// Changes an archive once or a few times, by what readers look at.
pub fn mutate(archive: &mut Vec<u8>, random: &mut Random, longest: usize) {
    for _ in 0..=random.below(3) {
        let headers = headers(archive);
        let Some(&at) = headers.get(random.below(headers.len().max(1))) else {
            *archive = self::archive(&[extra(random)]);
            continue;
        };
        let end = headers
            .iter()
            .copied()
            .find(|other| *other > at)
            .unwrap_or_else(|| (at + BLOCK + size(&archive[at..at + BLOCK]).next_multiple_of(BLOCK)).min(archive.len()));
        let inner = &archive[at + BLOCK..end];
        if inner.len() >= BLOCK && &inner[257..262] == b"ustar" && random.below(3) > 0 {
            let mut inner = inner.to_vec();
            let outside = archive.len() - inner.len();
            mutate(&mut inner, random, longest.saturating_sub(outside));
            inner.resize(inner.len().next_multiple_of(BLOCK), 0);
            archive[at + 124..at + 136].copy_from_slice(format!("{:011o}\0", inner.len()).as_bytes());
            archive.splice(at + BLOCK..end, inner);
            continue;
        }
        match random.below(12) {
            0..=4 => change_field(&mut archive[at..at + BLOCK], random),
            5..=6 => drop(archive.splice(at..at, extra(random))),
            7 => {
                let entry = archive[at..end].to_vec();
                archive.splice(at..at, entry);
            }
            8 => drop(archive.drain(at..end)),
            9 => {
                let other = headers[random.below(headers.len())];
                let entry: Vec<u8> = archive.drain(at..end).collect();
                let other = other.min(archive.len());
                archive.splice(other..other, entry);
            }
            10 => archive.truncate(random.below(archive.len())),
            _ => {
                let place = random.below(archive.len());
                archive[place] = random.next() as u8;
            }
        }
    }
    archive.truncate(longest);
    if random.below(16) > 0 {
        mend(archive);
    }
}

fn change_field(header: &mut [u8], random: &mut Random) {
    let (field, value) = match random.below(8) {
        0 | 1 => (&mut header[..100], random.one_of(NAMES)),
        2 | 3 => {
            let (start, len) = NUMBER_FIELDS[random.below(NUMBER_FIELDS.len())];
            (&mut header[start..start + len], random.one_of(NUMBERS))
        }
        4 => {
            header[156] = TYPES[random.below(TYPES.len())];
            return;
        }
        5 => (&mut header[257..265], random.one_of(MAGICS)),
        6 => (&mut header[345..500], random.one_of(NAMES)),
        _ => (&mut header[157..257], random.one_of(NAMES)),
    };
    let len = value.len().min(field.len());
    field.fill(0);
    field[..len].copy_from_slice(&value[..len]);
}

/// An entry to put somewhere: an extended header, mostly.
fn extra(random: &mut Random) -> Vec<u8> {
    let gnu = random.below(2) == 0;
    let magic = |header: &mut [u8]| {
        if gnu {
            header[257..265].copy_from_slice(MAGICS[1]);
        }
    };
    match random.below(6) {
        0 => entry(b"././@LongLink", b'L', &[random.one_of(NAMES), b"\0"].concat(), magic),
        1 => entry(b"././@LongLink", b'K', &[random.one_of(NAMES), b"\0"].concat(), magic),
        2 | 3 => {
            let given: Vec<(&str, &[u8])> =
                (0..=random.below(3)).map(|_| (random.one_of(KEYWORDS), random.one_of(VALUES))).collect();
            let kind = if random.below(6) == 0 { b'g' } else { b'x' };
            entry(b"pax", kind, &records(&given), magic)
        }
        4 => entry(random.one_of(NAMES), b'0', &vec![b'c'; random.below(600)], magic),
        _ => entry(random.one_of(NAMES), TYPES[random.below(TYPES.len())], b"", magic),
    }
}
