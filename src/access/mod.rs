//! Access: tokens, authentication and permissions. Pure, like the domain.

mod permission;
mod recover;
mod secret;
mod token;
mod tokens;

pub use permission::{Denied, permit, permit_administration, permit_findings};
pub use recover::Recovered;
pub use secret::{PlainToken, TokenFormatError, TokenHash};
pub use token::{
    Actor, Credential, Grants, Overlap, PreviousSecret, Role, Secret, Token, TokenName,
    TokenNameError,
};
pub use tokens::{AuthError, CreateToken, TokenCommand, TokenRefusal, Tokens, UpdateToken};
