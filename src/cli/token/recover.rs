//! `portbook token recover`: a way back in for whoever has the machine, without a server.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::view::Made;
use crate::access::{PlainToken, Recovered, TokenName, TokenRefusal};
use crate::cli::args::OutputArgs;
use crate::cli::{Error, ExitStatus};
use crate::grpc::convert;
use crate::store::sqlite::{OpenError, SqliteStore};
use crate::store::{Store, StoreError};
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct RecoverArgs {
    /// Its name.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    name: TokenName,

    /// The database file.
    #[arg(long, env = "PORTBOOK_DATABASE", value_name = "FILE", default_value = "portbook.db")]
    database: PathBuf,

    /// Print the secret and nothing else.
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Why a token can't be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is no database.
    #[error(
        "there is no database {0}: give its file with --database; a new one is made by 'portbook \
         serve', which shows its admin token"
    )]
    NoDatabase(PathBuf),
    /// It can't be looked for.
    #[error("the database {path} can't be looked at")]
    Look {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A server has it.
    #[error("a server runs on the database {0}: stop it, recover the token, and start it again")]
    Served(PathBuf),
    /// It can't be opened.
    #[error(transparent)]
    Open(OpenError),
    /// It can't be read or written.
    #[error("the token can't be kept")]
    Store(#[from] StoreError),
    /// No randomness.
    #[error("the operating system has no randomness for a token")]
    Random(#[from] getrandom::Error),
    /// The token has no secret.
    #[error("{0}: recover another one with --name")]
    Refused(TokenRefusal),
}

impl RecoverArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, database, quiet, output } = self;
        let made = recovered(&database, name).await?;
        made.print(quiet, output.output)
    }
}

async fn recovered(database: &Path, name: TokenName) -> Result<Made, RecoverError> {
    let mut store = open(database).await?;
    let now = Clock::system().now();
    let secret = PlainToken::generate()?;
    let tokens = store.load(now).await?.into_loaded().tokens;
    let recovered = tokens.recover(name, secret.hash(), now).map_err(RecoverError::Refused)?;
    let (done, token) = match recovered {
        Recovered::Existing(token) => ("Recovered", token),
        Recovered::New(token) => ("Created", token),
    };
    store.put_token(&token).await?;
    store.close().await?;
    Ok(Made { done, token: convert::token(&token), secret: secret.reveal().to_owned() })
}

/// The database, if there is one: a new one would hide that the path is wrong.
async fn open(database: &Path) -> Result<SqliteStore, RecoverError> {
    match database.metadata() {
        Ok(found) if found.is_file() && found.len() == 0 => {
            return Err(RecoverError::NoDatabase(database.to_owned()));
        }
        Ok(_) => {}
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(RecoverError::NoDatabase(database.to_owned()));
        }
        Err(source) => return Err(RecoverError::Look { path: database.to_owned(), source }),
    }
    SqliteStore::open(database).await.map_err(|fault| match fault {
        OpenError::InUse(path) => RecoverError::Served(path),
        fault => RecoverError::Open(fault),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Token, Tokens};

    #[tokio::test]
    async fn no_database_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portbook.db");
        let recover = async || recovered(&path, "admin".parse().unwrap()).await.map(|_| ());
        assert!(matches!(recover().await, Err(RecoverError::NoDatabase(_))));
        assert!(!path.exists());
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(recover().await, Err(RecoverError::NoDatabase(_))));
        assert_eq!(path.metadata().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn what_is_recovered_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portbook.db");
        let now = Clock::system().now();
        let lost = PlainToken::generate().unwrap();
        let mut store = SqliteStore::open(&path).await.unwrap();
        let creator = "somebody".parse::<TokenName>().unwrap().actor();
        let admin =
            Token { creator, revoke_time: Some(now), ..Token::first_admin(lost.hash(), now) };
        store.put_token(&admin).await.unwrap();
        let served = recovered(&path, "admin".parse().unwrap()).await;
        assert!(matches!(served, Err(RecoverError::Served(_))));
        store.close().await.unwrap();

        let made = recovered(&path, "admin".parse().unwrap()).await.unwrap();
        assert_eq!((made.done, &*made.token.creator), ("Recovered", "portbook"));
        let mut store = SqliteStore::open(&path).await.unwrap();
        let tokens: Tokens = store.load(now).await.unwrap().into_loaded().tokens;
        let secret = PlainToken::parse(&made.secret).unwrap();
        let later = Clock::system().now();
        assert_eq!(convert::token(tokens.by_secret(&secret, later).unwrap()), made.token);
        assert!(tokens.by_secret(&lost, later).is_err());
    }
}
