//! How many instructions Weir's hot paths take: see `benches/instructions.rs`.
