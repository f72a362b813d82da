//! The service's words on disk: `current`, and behind it `old.1` (the newest) to `old.5`. At most 6 MiB in all.

use std::fs::{File, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::unix::pipe::Receiver;

/// A file of this size, bytes, is put aside.
const LARGEST: u64 = 1 << 20;
const KEPT: usize = 5;
/// One read; a longer line is split when the file is rotated in its middle.
const CHUNK: usize = 16 << 10;

/// All log files, the oldest first; `current` last.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let old = (1..=KEPT).rev().map(|number| old_file(directory, number));
    old.chain([directory.join("current")]).filter(|path| path.exists()).collect()
}

/// The last lines of `current`.
pub fn tail(directory: &Path, lines: usize) -> Vec<String> {
    let read = || {
        let mut file = File::open(directory.join("current")).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(8192))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

/// For the supervisor's own last words.
pub(super) fn open_append(directory: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700)).with_context(|| format!("protect {}", directory.display()))?;
    let path = directory.join("current");
    File::options().append(true).create(true).mode(0o600).open(&path).with_context(|| format!("open {}", path.display()))
}

/// The open log. A disk that is full costs words, never the service.
pub(super) struct Log {
    directory: PathBuf,
    file: File,
    size: u64,
    /// Bytes that could not be written since the last that could.
    lost: u64,
}

impl Log {
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let file = open_append(directory)?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self { directory: directory.to_path_buf(), file, size, lost: 0 })
    }

    /// Waits for words of the service and writes them. Nothing is lost when the wait is given up.
    pub(super) async fn pump(&mut self, reader: &mut Receiver) -> anyhow::Result<()> {
        reader.readable().await.context("read the service's words")?;
        self.drain(reader);
        Ok(())
    }

    /// Writes what is there already.
    pub(super) fn drain(&mut self, reader: &Receiver) {
        let mut chunk = [0; CHUNK];
        while let Ok(count) = reader.try_read(&mut chunk) {
            if count == 0 {
                return;
            }
            self.write(&chunk[..count]);
        }
    }

    /// A line of the supervisor.
    pub(super) fn note(&mut self, note: &str) {
        let stamp = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let now = OffsetDateTime::now_utc().format(&stamp).unwrap_or_default();
        self.write(format!("{now} supervisor: {note}\n").as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        let over = (self.size + bytes.len() as u64).saturating_sub(LARGEST);
        if over == 0 {
            return self.append(bytes);
        }
        // Up to the last line that ends before the bound, if any ends.
        let room = usize::try_from(LARGEST.saturating_sub(self.size)).unwrap_or(bytes.len()).min(bytes.len());
        let split = bytes[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        self.append(&bytes[..split]);
        self.rotate();
        self.append(&bytes[split..]);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.lost > 0 {
            let remark = format!("supervisor: {} bytes of log could not be written\n", self.lost);
            if self.file.write_all(remark.as_bytes()).is_ok() {
                self.size += remark.len() as u64;
                self.lost = 0;
            }
        }
        match self.file.write_all(bytes) {
            Ok(()) => self.size += bytes.len() as u64,
            Err(_) => self.lost += bytes.len() as u64,
        }
    }

    /// When the new file cannot be made the old one goes on.
    fn rotate(&mut self) {
        for number in (1..KEPT).rev() {
            let _ = std::fs::rename(old_file(&self.directory, number), old_file(&self.directory, number + 1));
        }
        let moved = std::fs::rename(self.directory.join("current"), old_file(&self.directory, 1));
        if let (Ok(()), Ok(file)) = (moved, open_append(&self.directory)) {
            self.file = file;
            self.size = 0;
        }
    }
}

fn old_file(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("old.{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_at_line_ends_and_keeps_a_bounded_number() {
        let home = tempfile::tempdir().unwrap();
        let mut log = Log::open(home.path()).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..9000 {
            log.write(line.as_bytes());
        }
        let files = files(home.path());
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["old.5", "old.4", "old.3", "old.2", "old.1", "current"]);
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.len() as u64 <= LARGEST);
            assert!(text.lines().all(|line| line.len() == 999), "a line was torn in {}", file.display());
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_full_disk_costs_words_and_says_how_many() {
        let home = tempfile::tempdir().unwrap();
        let mut log = Log::open(home.path()).unwrap();
        let disk = std::mem::replace(&mut log.file, File::options().write(true).open("/dev/full").unwrap());
        log.write(b"twelve bytes");
        assert_eq!((log.size, log.lost), (0, 12));
        log.file = disk;
        log.write(b"and on\n");
        assert_eq!(tail(home.path(), 9), ["supervisor: 12 bytes of log could not be written", "and on"]);
    }

    #[test]
    fn goes_on_where_an_earlier_supervisor_ended() {
        let home = tempfile::tempdir().unwrap();
        Log::open(home.path()).unwrap().note("first");
        Log::open(home.path()).unwrap().note("second");
        let last = tail(home.path(), 2);
        assert!(last[0].ends_with("supervisor: first") && last[1].ends_with("supervisor: second"), "{last:?}");
        assert_eq!(tail(home.path(), 1).len(), 1);
    }
}
