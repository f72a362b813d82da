//! What was written, and whom clients are sent to because of it.

use crate::doctor::check::{Fault, Verdict};
use crate::doctor::evidence::Shared;
use crate::doctor::subject::{Subject, Target};

/// Servers of others that clones of AppRTC name without having been asked to. The last three are suffixes of hosts.
const STRANGERS: [&str; 4] = ["appr.tc", ".appspot.com", ".webrtc.org", ".googleapis.com"];
const STRANGERS_STUN: [&str; 2] = [".l.google.com", ".services.mozilla.com"];

pub(super) async fn valid(evidence: Shared) -> Verdict {
    let Subject::Own(Err(wrong)) = &evidence.subject else { return Verdict::Pass };
    let Some(first) = wrong.first() else { return Verdict::Pass };
    let mut fault = Fault::new(match wrong.as_slice() {
        [one] => one.problem.message.clone(),
        many => format!("{} (and {} more)", first.problem.message, many.len() - 1),
    });
    for one in wrong {
        let place = one.place.as_deref().unwrap_or("the config");
        fault = fault.proof("where", format!("{place}: {}", one.problem.message));
    }
    for hint in wrong.iter().filter_map(|one| one.problem.hint.as_deref()) {
        fault = fault.hint(hint);
    }
    fault.run("rtcctl config check", "shows every problem with its line").breaks(&["every command"]).fail()
}

pub(super) async fn third_party(evidence: Shared) -> Verdict {
    let Some(rooms) = evidence.rooms().await else { return Verdict::Skip("the target has no rooms".into()) };
    let page = rooms.page.as_deref().unwrap_or_default();
    let mut named: Vec<(&str, String)> = Vec::new();
    if let Some(stranger) = hosts_in(page).find(|host| is_stranger(host)) {
        named.push(("the page", stranger.to_owned()));
    }
    if let Ok(links) = &rooms.links {
        let told = [("room_link", &links.room_link), ("wss_url", &links.wss_url), ("wss_post_url", &links.wss_post_url)];
        for (key, url) in told.into_iter().chain([("ice_server_url", &links.ice_server_url)]) {
            named.extend(hosts_in(url).find(|host| is_stranger(host)).map(|_| (key, url.clone())));
        }
    }
    let configured: Vec<&String> = evidence.own().iter().flat_map(|own| &own.config.ice).flat_map(|ice| &ice.urls).collect();
    if !matches!(evidence.subject, Subject::Foreign(Target::Relay(_))) {
        let uris = evidence.uris().await;
        let strange = uris.into_iter().find(|(uri, _)| !configured.contains(&uri) && host_of_uri(uri).is_some_and(is_stranger));
        named.extend(strange.map(|(uri, _)| ("iceServers", uri)));
    }
    let Some((place, what)) = named.first() else { return Verdict::Pass };
    let mut fault = Fault::new(format!("{place} sends clients to a server of somebody else: {what}"));
    for (place, what) in &named {
        fault = fault.proof("named", format!("{place}: {what}"));
    }
    fault
        .breaks(&["calls, when that server is gone or blocked", "privacy: it learns who calls whom"])
        .hint(format!("find where it is set (grep -r {what} in the folder of the page) and put your own server there"))
        .hint("serve the page with rtcctl, which names nobody else")
        .fail()
}

fn is_stranger(host: &str) -> bool {
    STRANGERS
        .iter()
        .chain(&STRANGERS_STUN)
        .any(|stranger| host == stranger.trim_start_matches('.') || stranger.starts_with('.') && host.ends_with(stranger))
}

/// Hosts of absolute URLs in a text.
fn hosts_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("://").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).unwrap_or(rest.len());
        &rest[..end]
    })
}

fn host_of_uri(uri: &str) -> Option<&str> {
    let rest = uri.split_once(':')?.1.trim_start_matches('/');
    rest.split([':', '?']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_known_by_host_not_by_text() {
        let strangers = |text| hosts_in(text).filter(|host| is_stranger(host)).count();
        assert_eq!(strangers("base = 'https://appr.tc/x'; ws = \"wss://apprtc-ws.webrtc.org:443/ws\""), 2);
        assert_eq!(strangers("https://call.example.org/ says appr.tc; https://notappr.tc/ https://appr.tc.example.org/"), 0);
        assert!(host_of_uri("stun:stun.l.google.com:19302").is_some_and(is_stranger));
        assert!(!host_of_uri("turn:turn.example.org?transport=udp").is_some_and(is_stranger));
    }
}
