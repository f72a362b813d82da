//! `rtcctl cert trust` and `cert untrust`.
