//! Config to files: what rtcctl writes onto a machine, as data. Pure: nothing is written here.
