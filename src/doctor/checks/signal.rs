//! The page and its rooms, through the URLs that clients are given. Certificates are not judged here: `cert.*` does that.

use std::time::Duration;

use reqwest::Url;

use crate::config::model::RoomOpeners;
use crate::config::starter::is_public;
use crate::doctor::check::{Fault, Verdict};
use crate::doctor::evidence::{Shared, off_thread};
use crate::doctor::subject::{Own, Subject, Target, is_private};
use crate::net::tls;
use crate::probe::Links;

const ANSWER: Duration = Duration::from_secs(3);
/// Bytes of `/healthz` that are read.
const MOST: usize = 4096;

pub(super) async fn health(evidence: Shared) -> Verdict {
    let Some(own) = evidence.own() else { return Verdict::Skip("not ours".into()) };
    let host = crate::config::HostName::Ip(own.local_address());
    let url = format!("https://{}:{}/healthz", host.in_url(), own.config.site.https_port);
    let why = match ask(&url).await {
        Ok((200, _)) => return Verdict::Pass,
        Ok((503, body)) if body.contains("roles") => format!("a role is down: {body}"),
        Ok((status, _)) => format!("{url} answers {status}"),
        Err(why) => format!("{url} does not answer: {why}"),
    };
    let cause = match evidence.status().await {
        Ok(status) if status.ready => why.clone(),
        Ok(_) => "the service is starting, or one of its parts is down".to_owned(),
        Err(_) => "the service does not run".to_owned(),
    };
    let mut fault = Fault::new(cause).proof("asked", why).breaks(&["everything"]);
    for line in last_words(own.clone()).await {
        fault = fault.proof("log", line);
    }
    fault.run("rtcctl up", "starts it, and proves it").run("rtcctl logs", "its last words").fail()
}

async fn ask(url: &str) -> Result<(u16, String), String> {
    let config = tls::blind_client_config().map_err(|error| error.to_string())?;
    let client = reqwest::Client::builder().tls_backend_preconfigured((*config).clone()).no_proxy().timeout(ANSWER).build();
    let mut response = client.map_err(|error| error.to_string())?.get(url).send().await.map_err(|error| innermost(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| innermost(&error))?.filter(|_| body.len() < MOST) {
        body.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

/// What the service said last, three lines of it.
pub(super) async fn last_words(own: Own) -> Vec<String> {
    use crate::deploy::facts::Keeper;
    use crate::deploy::supervisor;
    use crate::host::{Cmd, Host as _, Local};
    let read = move || match own.keeper {
        Keeper::Supervisor => supervisor::log::tail(&own.paths.log(), 3),
        Keeper::Systemd => {
            let unit = format!("--unit={}.service", own.config.name);
            let cmd = Cmd::new(["journalctl", &unit, "--lines=3", "--output=cat", "--no-pager", "--quiet"]).within(ANSWER);
            Local.run(&cmd).map(|output| output.stdout.lines().map(str::to_owned).collect()).unwrap_or_default()
        }
    };
    let clean = |line: String| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    off_thread(read).await.unwrap_or_default().into_iter().map(clean).collect()
}

pub(super) async fn join(evidence: Shared) -> Verdict {
    let Some(rooms) = evidence.rooms().await else { return Verdict::Skip("the target has no rooms".into()) };
    let broken = match (&rooms.page, &rooms.links) {
        (Ok(_), Ok(_)) => return Verdict::Pass,
        (Err(broken), _) | (_, Err(broken)) => broken,
    };
    let fault =
        Fault::new(format!("{}: {}", broken.url, broken.cause)).proof("expected", "two joins, and a message of the first that waits for the second");
    let Some(own) = evidence.own() else {
        return fault.breaks(&["every call"]).hint("see that this is the address of an AppRTC room server, and read its log").fail();
    };
    let is_far =
        !own.names.all.iter().any(|name| matches!(name, crate::config::HostName::Ip(ip) if own.machine.addresses.contains(ip) || ip.is_loopback()));
    if is_far && broken.cause.starts_with("no answer") && own.dns_name().is_none() {
        return Fault::new(format!("this machine cannot reach itself at {} (NAT without hairpin?)", own.link()))
            .hint("open the link from another network: if it answers, only the machine itself cannot")
            .unknown();
    }
    fault.breaks(&["every call"]).run("rtcctl logs", "what the service met").run("rtcctl up", "starts it anew, and proves it").fail()
}

pub(super) async fn open(evidence: Shared) -> Verdict {
    let place = match &evidence.subject {
        Subject::Own(Ok(own)) if own.config.signal.open_rooms == RoomOpeners::Hosts => return Verdict::Pass,
        Subject::Own(Ok(own)) if !is_public(&own.config.site.address) => return Verdict::Skip("a site in a network of its own".into()),
        Subject::Foreign(Target::Page(url)) if url.host_str().is_some_and(is_at_home) => {
            return Verdict::Skip("a site in a network of its own".into());
        }
        Subject::Foreign(Target::Relay(_)) => return Verdict::Skip("the target has no rooms".into()),
        Subject::Own(Ok(own)) => own.link(),
        Subject::Foreign(Target::Page(url)) => url.to_string(),
        Subject::Own(Err(_)) => return Verdict::Waits("config.valid"),
    };
    let fault =
        Fault::new(format!("everybody who finds {place} may open rooms, and so use the relay")).breaks(&["your line, when strangers relay over it"]);
    if evidence.own().is_none() {
        return fault.hint("ask for a password, or for a link that was handed out, before a room is opened").warn();
    }
    fault
        .hint("set open_rooms = \"hosts\" below [signal] in rtcctl.toml, then rtcctl up: whoever has a link still joins, only hosts open rooms")
        .run("rtcctl call invite --as-host", "after that: the link that makes a browser a host")
        .warn()
}

/// A host in a URL that only a network of its own knows.
fn is_at_home(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_private)
}

pub(super) async fn origin(evidence: Shared) -> Verdict {
    let Some(Ok(links)) = evidence.rooms().await.map(|rooms| rooms.links.as_ref()) else { return Verdict::Skip("the target has no rooms".into()) };
    let page = match &evidence.subject {
        Subject::Own(Ok(own)) => Url::parse(&own.link()).ok(),
        Subject::Foreign(Target::Page(url)) => Some(url.clone()),
        _ => None,
    };
    let Some(page) = page else { return Verdict::Skip("the target has no page".into()) };
    let wrong = wrong_links(&page, links);
    let Some((key, url, why)) = wrong.first() else { return Verdict::Pass };
    let mut fault = Fault::new(format!("{key} is {url}, the page is {}: {why}", origin_of(&page)));
    for (key, url, _) in &wrong {
        fault = fault.proof(key, url.clone());
    }
    let fault = fault.breaks(&["browsers: they refuse such links, and the caller never sends an offer"]);
    if evidence.own().is_some() {
        return fault
            .run("rtcctl logs", "what the service takes for its own address")
            .run("rtcctl up", "starts it anew with the address of the config")
            .fail();
    }
    fault
        .hint("behind a proxy: pass on who was asked, in nginx: proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;")
        .hint("in the room server of AppRTC: WSS_INSTANCES and ICE_SERVER_BASE_URL in constants.py, started with https in front")
        .fail()
}

fn origin_of(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

/// Key, URL, why. A WebSocket on another port is allowed; one without TLS on a page with TLS is not, nor another host.
fn wrong_links(page: &Url, links: &Links) -> Vec<(&'static str, String, &'static str)> {
    let secure = page.scheme() == "https";
    let websocket = if secure { "wss" } else { "ws" };
    let told = [
        ("room_link", &links.room_link, page.scheme(), true),
        ("wss_url", &links.wss_url, websocket, false),
        ("ice_server_url", &links.ice_server_url, page.scheme(), true),
    ];
    let public = !page.host_str().is_some_and(is_at_home);
    let mut wrong = Vec::new();
    if !secure && public {
        wrong.push(("page", page.to_string(), "browsers give no camera to a page without TLS"));
    }
    for (key, link, scheme, whole) in told {
        let Ok(url) = Url::parse(link) else {
            wrong.push((key, link.clone(), "it is no URL"));
            continue;
        };
        if url.scheme() != scheme {
            wrong.push((key, link.clone(), if secure { "a page with TLS may only use links with TLS" } else { "another scheme" }));
        } else if url.host() != page.host() {
            wrong.push((key, link.clone(), "another host"));
        } else if whole && url.port_or_known_default() != page.port_or_known_default() {
            wrong.push((key, link.clone(), "another port"));
        }
    }
    wrong
}

pub(super) async fn websocket(evidence: Shared) -> Verdict {
    let Some(rooms) = evidence.rooms().await else { return Verdict::Skip("the target has no rooms".into()) };
    let Err(broken) = &rooms.websocket else { return Verdict::Pass };
    let fault =
        Fault::new(format!("{}: {}", broken.url, broken.cause)).proof("expected", "register, and one message each way").breaks(&["every call"]);
    if evidence.own().is_some() {
        return fault.run("rtcctl logs", "what the service met").fail();
    }
    fault
        .hint("see that something listens there and that the port is open")
        .hint("behind nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;")
        .fail()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(page: &str, room: &str, wss: &str, ice: &str) -> Vec<&'static str> {
        let links = Links { room_link: room.into(), wss_url: wss.into(), wss_post_url: String::new(), ice_server_url: ice.into() };
        wrong_links(&Url::parse(page).unwrap(), &links).into_iter().map(|(key, ..)| key).collect()
    }

    #[test]
    fn links_of_another_origin() {
        let page = "https://call.example.org/";
        let room = "https://call.example.org/r/x";
        let ice = "https://call.example.org/v1alpha/iceconfig";
        assert_eq!(wrong(page, room, "wss://call.example.org/ws", ice), [""; 0]);
        assert_eq!(wrong(page, room, "wss://call.example.org:8089/ws", ice), [""; 0], "a WebSocket has no origin");
        assert_eq!(wrong(page, "http://call.example.org/r/x", "ws://call.example.org/ws", ice), ["room_link", "wss_url"]);
        assert_eq!(wrong(page, "https://inner:8080/r/x", "wss://call.example.org/ws", "not a url"), ["room_link", "ice_server_url"]);
        assert_eq!(
            wrong("http://call.example.org/", "http://call.example.org/r/x", "ws://call.example.org/ws", "http://call.example.org/"),
            ["page"]
        );
        assert_eq!(wrong("http://127.0.0.1:1/", "http://127.0.0.1:1/r/x", "ws://127.0.0.1:1/ws", "http://127.0.0.1:1/"), [""; 0]);
    }
}
