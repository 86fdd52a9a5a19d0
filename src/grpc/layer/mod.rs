//! What all calls pass through before a service hears of them, outermost first.

pub mod authenticate;
