//! `portbook token recover`: recovers an admin token in the database file, without a server.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::view::TokenView;
use crate::access::{PlainToken, Recovered, TokenName, TokenRefusal};
use crate::cli::args::{DatabaseArgs, OutputArgs};
use crate::cli::{Error, ExitStatus};
use crate::grpc::convert;
use crate::store::{DatabaseStore, OpenError, Store, StoreError};
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct RecoverArgs {
    /// The name of the token.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    name: TokenName,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Print only the secret.
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// A token can't be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database does not exist.
    #[error(
        "database {0} does not exist: specify its file with --database; 'portbook serve' creates a \
         new database and prints its admin token"
    )]
    NoDatabase(PathBuf),
    /// The database file can't be inspected.
    #[error("the database {path} can't be accessed")]
    Metadata {
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A server is using the database.
    #[error(
        "a server is running on the database {0}: stop it, recover the token, and start it again"
    )]
    InUse(PathBuf),
    /// The database can't be opened.
    #[error(transparent)]
    Open(OpenError),
    /// The database can't be read or written.
    #[error("the token can't be stored")]
    Store(#[from] StoreError),
    /// Random bytes are not available.
    #[error("the operating system can't provide random bytes for a token")]
    Random(#[from] getrandom::Error),
    /// The token can't be recovered, because it has no secret.
    #[error("{0}: recover another token with --name")]
    Refused(TokenRefusal),
}

impl RecoverArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, database: DatabaseArgs { database }, quiet, output } = self;
        let (done, view) = recovered(&database, name).await?;
        view.print(done, quiet, output.output)
    }
}

async fn recovered(
    database: &Path,
    name: TokenName,
) -> Result<(&'static str, TokenView), RecoverError> {
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
    let secret = Some(secret.reveal().to_owned());
    Ok((done, TokenView::written(Some(convert::token(&token)), secret)))
}

/// Opens an existing database. Does not create one: that would hide a wrong path.
async fn open(database: &Path) -> Result<DatabaseStore, RecoverError> {
    match database.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => {
            return Err(RecoverError::NoDatabase(database.to_owned()));
        }
        Ok(_) => {}
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(RecoverError::NoDatabase(database.to_owned()));
        }
        Err(source) => return Err(RecoverError::Metadata { path: database.to_owned(), source }),
    }
    DatabaseStore::open(database).await.map_err(|error| match error {
        OpenError::InUse(path) => RecoverError::InUse(path),
        error => RecoverError::Open(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Token, Tokens};

    #[tokio::test]
    async fn no_database_is_created() {
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
    async fn a_recovered_token_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portbook.db");
        let now = Clock::system().now();
        let lost = PlainToken::generate().unwrap();
        let mut store = DatabaseStore::open(&path).await.unwrap();
        let creator = "operator".parse::<TokenName>().unwrap().actor();
        let admin =
            Token { creator, revoke_time: Some(now), ..Token::first_admin(lost.hash(), now) };
        store.put_token(&admin).await.unwrap();
        let in_use = recovered(&path, "admin".parse().unwrap()).await;
        assert!(matches!(in_use, Err(RecoverError::InUse(_))));
        store.close().await.unwrap();

        let (done, view) = recovered(&path, "admin".parse().unwrap()).await.unwrap();
        assert_eq!((done, &*view.token.creator), ("Recovered", "portbook"));
        let mut store = DatabaseStore::open(&path).await.unwrap();
        let tokens: Tokens = store.load(now).await.unwrap().into_loaded().tokens;
        let secret = PlainToken::parse(&view.secret.unwrap()).unwrap();
        let later = Clock::system().now();
        assert_eq!(convert::token(tokens.by_secret(&secret, later).unwrap()), view.token);
        assert!(tokens.by_secret(&lost, later).is_err());
    }
}
