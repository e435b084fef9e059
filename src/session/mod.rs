//! One browser.
/// One browser's engine.
#[derive(Debug)]
pub struct Session {}
