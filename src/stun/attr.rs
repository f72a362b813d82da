//! Pure: (being written)
