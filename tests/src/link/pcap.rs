//! Writing frames as a pcap file (the classic format, with microseconds), for whoever wants to look with other programs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::capture::Frame;

const MAGIC: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;

/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, frames: &[Frame]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    // Version 2.4, UTC, exact time stamps, no frame cut.
    let head = [MAGIC, 2 | 4 << 16, 0, 0, u32::MAX >> 1, ETHERNET];
    for word in head {
        file.write_all(&word.to_ne_bytes())?;
    }
    for frame in frames {
        let since = frame.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        // The format's seconds end in 2106.
        let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        for word in [seconds, since.subsec_micros(), length, length] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.write_all(&frame.bytes)?;
    }
    file.flush()
}
