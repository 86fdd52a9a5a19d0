//! What all calls pass through before a service hears of them, outermost first.

pub mod authenticate;
pub mod limit;
pub mod observe;
pub mod peer;
pub mod rate;
mod rpc;
pub mod trace;
