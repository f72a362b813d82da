//! The doctor: for every row the world is broken in one way, and exactly that row must say so, naming the thing that was broken.
//! After the remedy, run as it is printed, everything is well again.

mod cert;
mod foreign;
mod machine;
mod own;
mod world;

use rtcctl::doctor::CHECKS;

/// Each row stands in one of these as `only("its.id"`.
const ROWS: [&str; 4] = [include_str!("cert.rs"), include_str!("foreign.rs"), include_str!("machine.rs"), include_str!("own.rs")];

#[test]
fn every_check_is_broken_by_a_test() {
    let without: Vec<&str> =
        CHECKS.iter().map(|check| check.id).filter(|id| !ROWS.iter().any(|text| text.contains(&format!("only(\"{id}\"")))).collect();
    assert_eq!(without, [""; 0]);
}
