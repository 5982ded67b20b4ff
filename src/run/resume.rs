//! What earlier runs recorded.
