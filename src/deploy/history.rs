//! What was done here, when and by whom: `history.jsonl`, one object per line, the newest last.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::{Host, HostError};

/// Lines kept; older ones go.
const KEEP: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since the epoch.
    pub at: u64,
    pub user: String,
    /// `up` or `down`.
    pub verb: String,
    /// `done` or `put back`.
    pub outcome: String,
    pub release: Option<u64>,
    /// What people were told.
    pub link: Option<String>,
}

/// All entries that can be read; a line that cannot is skipped, and kept in the file.
pub fn read(host: &dyn Host, path: &Path) -> Result<Vec<Entry>, HostError> {
    let bytes = host.read(path)?.unwrap_or_default();
    Ok(bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

pub fn append(host: &dyn Host, path: &Path, entry: &Entry) -> Result<(), HostError> {
    let before = host.read(path)?.unwrap_or_default();
    let mut lines: Vec<&[u8]> = before.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let new = serde_json::to_vec(entry).expect("plain strings and numbers");
    lines.push(&new);
    let kept = &lines[lines.len().saturating_sub(KEEP)..];
    let mut text = kept.join(&b'\n');
    text.push(b'\n');
    host.write(path, &text, 0o644)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Entry, KEEP, append, read};
    use crate::host::Host;
    use crate::host::script::Script;

    fn entry(at: u64) -> Entry {
        Entry { at, user: "anna".into(), verb: "up".into(), outcome: "done".into(), release: Some(1), link: None }
    }

    #[test]
    fn broken_lines_are_skipped_and_kept_and_old_ones_go() {
        let host = Script::new(|_| Ok(String::new()));
        let path = Path::new("/history.jsonl");
        host.write(path, b"{half", 0o644).unwrap();
        append(&host, path, &entry(1)).unwrap();
        assert_eq!(read(&host, path).unwrap(), [entry(1)]);
        assert!(host.read(path).unwrap().unwrap().starts_with(b"{half\n{"));
        for at in 2..=KEEP as u64 + 1 {
            append(&host, path, &entry(at)).unwrap();
        }
        let entries = read(&host, path).unwrap();
        assert_eq!((entries.len(), entries[0].at, entries[KEEP - 1].at), (KEEP, 2, KEEP as u64 + 1));
    }
}
