//! Tar archives whose bytes depend on nothing but their content: no times, no names of users.

use std::io::Write;

use anyhow::{Context, Result, bail};

/// Tar files consist of blocks of this many bytes.
const BLOCK_BYTES: usize = 512;

/// The longest name that fits the first field of a header; ours are far shorter.
const NAME_BYTES: usize = 100;

/// Writes a POSIX "ustar" archive: everything belongs to root and is as old as the epoch.
pub(crate) struct Archive<W: Write> {
    out: W,
}

// === impl Archive ===

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Adds a regular file, readable by all, with these permission bits.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.out.write_all(&header(name, b'0', mode, content.len())?)?;
        self.out.write_all(content)?;
        let over = content.len() % BLOCK_BYTES;
        if over > 0 {
            self.out.write_all(&vec![0; BLOCK_BYTES - over])?;
        }
        Ok(())
    }

    /// Adds a folder; its name ends in a slash.
    pub(crate) fn folder(&mut self, name: &str) -> Result<()> {
        Ok(self.out.write_all(&header(name, b'5', 0o755, 0)?)?)
    }

    /// Ends the archive and returns what it was written to.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush().context("writing an archive")?;
        Ok(self.out)
    }
}

fn header(name: &str, kind: u8, mode: u32, size: usize) -> Result<[u8; BLOCK_BYTES]> {
    if name.len() >= NAME_BYTES {
        bail!("`{name}` is too long for an archive: {} bytes, at most {}", name.len(), NAME_BYTES - 1);
    }
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &str| {
        for (place, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
            *place = byte;
        }
    };
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The sum is taken with its own field blank.
    put(148, "        ");
    put(257, "ustar\0");
    put(263, "00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    for (place, byte) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn example() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.folder("blobs/").unwrap();
        archive.file("blobs/one", 0o755, &[b'x'; 513]).unwrap();
        archive.file("two", 0o644, b"").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn tar_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("example.tar");
        std::fs::write(&path, example()).unwrap();
        let list = Command::new("tar").args(["--utc", "-tvf"]).arg(&path).output().unwrap();
        assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
        let text = String::from_utf8_lossy(&list.stdout).into_owned();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "blobs/"]);
        assert_eq!(lines[1], ["-rwxr-xr-x", "0/0", "513", "1970-01-01", "00:00", "blobs/one"]);
        assert_eq!(lines[2], ["-rw-r--r--", "0/0", "0", "1970-01-01", "00:00", "two"]);
    }

    #[test]
    fn archives_are_whole_blocks_and_repeat() {
        assert_eq!(example().len() % BLOCK_BYTES, 0);
        assert_eq!(example(), example());
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let mut archive = Archive::new(Vec::new());
        archive.file(&"n".repeat(NAME_BYTES - 1), 0o644, b"").unwrap();
        let error = archive.file(&"n".repeat(NAME_BYTES), 0o644, b"").unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}
