//! Measures by really calling: pages, rooms, WebSocket and relay, through exactly the URLs that clients are given. Has no opinion.
