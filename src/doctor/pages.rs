//! The offline page of each check, in Markdown: what, why, how to confirm, how to mend.

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "src/doctor/pages/"]
struct Pages;

/// The page of a check id.
pub fn page(id: &str) -> Option<String> {
    Pages::get(&format!("{id}.md")).map(|file| String::from_utf8_lossy(&file.data).into_owned())
}

#[cfg(test)]
pub(super) fn ids() -> Vec<String> {
    Pages::iter().map(|path| path.trim_end_matches(".md").to_owned()).collect()
}
