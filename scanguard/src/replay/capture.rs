//! Reads captures: pcap and pcapng, plain or compressed, of several link types. What comes out are Ethernet frames.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// Bytes that are read at a time, and the longest block that is understood.
const BUFFER: usize = 4 << 20;
/// The longest frame that is taken: what segmentation offload makes is 64 KiB and some.
const LONGEST_FRAME: usize = 256 << 10;
const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IP4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IP6: [u8; 2] = [0x86, 0xdd];

/// A frame of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// Its place in the file, from 1 on.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// As Ethernet has it, whatever link it was captured on.
    pub frame: &'a [u8],
}

/// How reading ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ending {
    /// Frames that were read.
    pub frames: u64,
    /// Why the rest could not be, if so.
    pub broken: Option<String>,
    /// Frames of links that are not understood.
    pub foreign: u64,
}

/// Why a capture cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be read at all.
    #[error("cannot read {name}: {source}")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// A source of bytes that tells how many were read of how many.
pub type Input = Box<dyn Read + Send>;

/// Opens a file, `-` for standard input, and unpacks it if it is compressed (told by its first bytes, not by its name).
///
/// # Errors
/// When it cannot be opened or its first bytes cannot be read.
pub fn open(path: &Path, progress: impl Fn(u64) + Send + 'static) -> Result<Input, CaptureError> {
    let unreadable = |source| CaptureError::Unreadable { name: path.display().to_string(), source };
    let raw: Input = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        Box::new(file)
    };
    unpack(Counted { input: raw, read: 0, progress }).map_err(unreadable)
}

/// Unpacks what is compressed with gzip or zstd.
fn unpack(mut input: impl Read + Send + 'static) -> io::Result<Input> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut magic = Vec::new();
    input.by_ref().take(4).read_to_end(&mut magic)?;
    let whole = io::Cursor::new(magic.clone()).chain(input);
    Ok(if magic.starts_with(&GZIP) {
        Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(whole)))
    } else if magic == ZSTD {
        let decoder = ruzstd::decoding::StreamingDecoder::new(BufReader::new(whole)).map_err(io::Error::other)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    })
}

/// Reads as much as there is room for: the parser takes what a read brings for all that there is.
struct Filling<R>(R);

impl<R: Read> Read for Filling<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was read before is worth having; the next call meets the error again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

struct Counted<R, F> {
    input: R,
    read: u64,
    progress: F,
}

impl<R: Read, F: Fn(u64)> Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        (self.progress)(self.read);
        Ok(read)
    }
}

/// An interface of a pcapng section.
#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Ticks in a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

/// Reads all frames, as far as that goes, until `take` has enough.
pub fn read(input: Input, mut take: impl FnMut(Captured<'_>) -> ControlFlow<()>) -> Ending {
    let mut ending = Ending::default();
    let mut reader = match create_reader(BUFFER, Filling(input)) {
        Ok(reader) => reader,
        Err(error) => {
            let reason = match error {
                PcapError::Eof => "it is empty".to_owned(),
                PcapError::HeaderNotRecognized => "it is neither pcap nor pcapng".to_owned(),
                error => describe(&error),
            };
            ending.broken = Some(reason);
            return ending;
        }
    };
    let mut file = (Linktype::NULL, 1_000_u64);
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut scratch = Vec::new();
    let mut time_ns = 0;
    loop {
        let (offset, found) = match reader.next() {
            Ok((offset, block)) => {
                let found = match &block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        file = (header.network, if header.is_nanosecond_precision() { 1 } else { 1_000 });
                        None
                    }
                    PcapBlockOwned::Legacy(block) => {
                        let nanoseconds = u64::from(block.ts_usec).saturating_mul(file.1);
                        time_ns = u64::from(block.ts_sec).saturating_mul(1_000_000_000).saturating_add(nanoseconds);
                        let captured = (block.caplen as usize).min(block.data.len());
                        Some((file.0, block.data.get(..captured).unwrap_or_default()))
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                        interfaces.clear();
                        None
                    }
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        interfaces.push(Interface {
                            link: interface.linktype,
                            resolution: interface.ts_resolution().unwrap_or(1_000_000).max(1),
                            offset: interface.ts_offset(),
                        });
                        None
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let interface = interfaces.get(packet.if_id as usize).copied();
                        interface.map(|interface| {
                            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                            time_ns = nanoseconds(ticks, &interface);
                            let captured = (packet.caplen as usize).min(packet.data.len());
                            (interface.link, packet.data.get(..captured).unwrap_or_default())
                        })
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => interfaces.first().map(|interface| {
                        let captured = (packet.origlen as usize).min(packet.data.len());
                        (interface.link, packet.data.get(..captured).unwrap_or_default())
                    }),
                    PcapBlockOwned::NG(_) => None,
                };
                let mut flow = ControlFlow::Continue(());
                if let Some((link, data)) = found {
                    ending.frames += 1;
                    match ethernet(link, data, &mut scratch) {
                        Some(frame) if frame.len() <= LONGEST_FRAME => {
                            flow = take(Captured { number: ending.frames, time_ns, frame });
                        }
                        _ => ending.foreign += 1,
                    }
                }
                (offset, flow)
            }
            Err(PcapError::Eof) => return ending,
            Err(error) => {
                let wants_more = matches!(error, PcapError::Incomplete(_) | PcapError::UnexpectedEof);
                let reason = describe(&error);
                let before = reader.data().len();
                if !wants_more {
                    ending.broken = Some(after(&ending, &reason));
                } else if before == 0 && reader.reader_exhausted() {
                    return ending; // It ends where a packet does.
                } else if let Err(error) = reader.refill() {
                    ending.broken = Some(after(&ending, &describe(&error)));
                } else if reader.data().len() == before {
                    // What still is incomplete after a refill that brought nothing never gets complete.
                    let reason = match (before, reader.reader_exhausted()) {
                        (0, true) => return ending,
                        (_, true) => "it ends within a packet",
                        (_, false) => "a length that makes no sense",
                    };
                    ending.broken = Some(after(&ending, reason));
                }
                if ending.broken.is_some() {
                    return ending;
                }
                continue;
            }
        };
        reader.consume(offset);
        if found.is_break() {
            return ending;
        }
    }
}

fn after(ending: &Ending, reason: &str) -> String {
    format!("after packet {}: {reason}", ending.frames)
}

fn describe<I>(error: &PcapError<I>) -> String {
    match error {
        PcapError::UnexpectedEof => "it ends within a packet".to_owned(),
        PcapError::BufferTooSmall => "a length that makes no sense".to_owned(),
        PcapError::ReadError => "it cannot be read any further".to_owned(),
        _ => "what follows is no capture".to_owned(),
    }
}

fn nanoseconds(ticks: u64, interface: &Interface) -> u64 {
    let since = u128::from(ticks) * 1_000_000_000 / u128::from(interface.resolution);
    let since = i128::try_from(since).unwrap_or(i128::MAX).saturating_add(i128::from(interface.offset) * 1_000_000_000);
    u64::try_from(since.max(0)).unwrap_or(u64::MAX)
}

/// The frame as Ethernet would have it; nothing for links that are not understood. (Numbers and headers: <https://www.tcpdump.org/linktypes.html>.)
fn ethernet<'a>(link: Linktype, data: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let (ethertype, payload): ([u8; 2], &[u8]) = match link.0 {
        1 => return Some(data),
        // LINUX_SLL, LINUX_SLL2: the EtherType, and the payload after their headers.
        113 => (data.get(14..16)?.try_into().ok()?, data.get(16..)?),
        276 => (data.get(0..2)?.try_into().ok()?, data.get(20..)?),
        // RAW by its several numbers, and IPV4, IPV6.
        12 | 14 | 101 | 228 | 229 => (by_version(data), data),
        // NULL and LOOP: a family before the packet.
        0 | 108 => (by_version(data.get(4..)?), data.get(4..)?),
        _ => return None,
    };
    scratch.clear();
    // Addresses of nobody: neither a group nor anyone's.
    scratch.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    scratch.extend_from_slice(&ethertype);
    debug_assert_eq!(scratch.len(), ETHERNET_HEADER);
    scratch.extend_from_slice(payload);
    Some(scratch)
}

fn by_version(packet: &[u8]) -> [u8; 2] {
    match packet.first().map(|byte| byte >> 4) {
        Some(6) => ETHERTYPE_IP6,
        _ => ETHERTYPE_IP4,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An IPv4 packet with nothing in it.
    const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 1, 0, 0, 64, 59, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];

    fn pcap(link: u32, magic: u32, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).expect("short");
        let words = [magic, 0x0004_0002, 0, 0, 65_535, link, 1_800_000_000, 5, length, length];
        words.iter().flat_map(|word| word.to_le_bytes()).chain(data.iter().copied()).collect()
    }

    /// Times and frames.
    fn all(bytes: Vec<u8>) -> (Vec<(u64, Vec<u8>)>, Ending) {
        let mut frames = Vec::new();
        let input = unpack(io::Cursor::new(bytes)).expect("an input");
        let ending = read(input, |captured| {
            frames.push((captured.time_ns, captured.frame.to_vec()));
            ControlFlow::Continue(())
        });
        (frames, ending)
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00], payload].concat()
    }

    #[test]
    fn links_of_all_kinds_become_ethernet() {
        let cooked = [&[0; 14][..], &[0x08, 0x00], &PACKET].concat();
        let cooked2 = [&[0x08, 0x00][..], &[0; 18], &PACKET].concat();
        let null = [&[2, 0, 0, 0][..], &PACKET].concat();
        for (link, data) in [(113, cooked), (276, cooked2), (101, PACKET.to_vec()), (12, PACKET.to_vec()), (0, null)] {
            let (frames, ending) = all(pcap(link, 0xa1b2_c3d4, &data));
            assert_eq!(frames, [(1_800_000_000_000_005_000, framed(&PACKET))], "link {link}");
            assert_eq!(ending, Ending { frames: 1, ..Ending::default() }, "link {link}");
        }
        let (frames, ending) = all(pcap(1, 0xa1b2_3c4d, &framed(&PACKET)));
        assert_eq!(frames, [(1_800_000_000_000_000_005, framed(&PACKET))], "nanoseconds");
        assert_eq!(ending.broken, None);
        let (frames, ending) = all(pcap(105, 0xa1b2_c3d4, &PACKET));
        assert_eq!((frames.len(), ending.foreign), (0, 1), "802.11 is not understood");
    }

    #[test]
    fn what_is_compressed_is_unpacked() {
        let plain = pcap(1, 0xa1b2_c3d4, &framed(&PACKET));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("packed");
        let zstd = ruzstd::encoding::compress_to_vec(plain.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        for packed in [gzip.finish().expect("packed"), zstd] {
            assert_eq!(all(packed), all(plain.clone()));
        }
    }

    #[test]
    fn what_is_no_capture_says_so() {
        for (bytes, reason) in
            [(&b""[..], "it is empty"), (b"hello, world, this is text and no capture", "neither pcap nor pcapng")]
        {
            let (frames, ending) = all(bytes.to_vec());
            assert!(frames.is_empty());
            assert!(ending.broken.as_deref().is_some_and(|broken| broken.contains(reason)), "{ending:?}");
        }
    }

    #[test]
    fn what_breaks_off_is_read_so_far() {
        let mut whole = pcap(1, 0xa1b2_c3d4, &framed(&PACKET));
        let more = whole[24..].to_vec();
        whole.extend_from_slice(&more);
        let (frames, ending) = all(whole[..whole.len() - 1].to_vec());
        assert_eq!(frames.len(), 1);
        assert_eq!(ending.broken.as_deref(), Some("after packet 1: it ends within a packet"));
        // A length of four gigabytes.
        let at = 24 + 16 + 34 + 8;
        whole[at..at + 4].fill(0xff);
        let (frames, ending) = all(whole);
        assert_eq!((frames.len(), ending.broken.is_some()), (1, true));
    }
}
