//! `firmware clean` on files: one is read, and what comes of it appears as a whole or not at all.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oob_mecheck::clean::{Cleaned, Options, Refusal, clean};

use super::outputs::{Likeness, Outputs, Target};
use crate::files::open_regular;
use crate::machine::LARGEST_FLASH as LARGEST;

/// What to clean, and where the results go.
#[derive(Debug)]
pub struct Request<'a> {
    pub file: &'a Path,
    /// None edits `file` in place.
    pub output: Option<&'a Path>,
    pub descriptor: Option<&'a Path>,
    pub me: Option<&'a Path>,
    /// Whether `descriptor` and `me` are extracted follows from the paths above.
    pub options: Options,
}

/// A cleaning that was carried out.
#[derive(Debug)]
pub struct Done {
    pub cleaned: Cleaned,
    pub written: Vec<Written>,
}

/// A file that was written: which result it holds, and where.
#[derive(Debug)]
pub struct Written {
    /// `image`, `descriptor` or `me`.
    pub what: &'static str,
    pub path: PathBuf,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("reading firmware image {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("firmware image {}: {why}", path.display())]
    Refused { path: PathBuf, why: Refusal },
    #[error("writing {}: {why}; nothing was written", path.display())]
    NotWritable { path: PathBuf, why: io::Error },
    #[error(
        "putting the outputs of {} in place: {why}; files that stood there before may be replaced already: check them",
        path.display()
    )]
    Torn { path: PathBuf, why: io::Error },
}

/// Reads, cleans and writes.
///
/// # Errors
/// [`Failure`]; then no output exists that did not exist before, and the input is as it was.
pub fn run(request: &Request<'_>) -> Result<Done, Failure> {
    let mut options = request.options.clone();
    options.extract_descriptor = request.descriptor.is_some();
    options.extract_me = request.me.is_some();
    let refused = |why| Failure::Refused { path: request.file.to_owned(), why };
    options.validate().map_err(refused)?;
    let targets = Targets::of(request)?;
    let (bytes, like) =
        read(request.file).map_err(|why| Failure::Unreadable { path: request.file.to_owned(), why })?;
    let cleaned = clean(&bytes, &options).map_err(refused)?;
    let written = write(request, &targets, &cleaned, like)?;
    Ok(Done { cleaned, written })
}

struct Targets {
    /// None where the image is only looked at.
    image: Option<Target>,
    descriptor: Option<Target>,
    me: Option<Target>,
}

impl Targets {
    /// Every target is looked at before the image is, and no two of them are the same file.
    fn of(request: &Request<'_>) -> Result<Self, Failure> {
        let target =
            |path: &Path| Target::of(path).map_err(|why| Failure::NotWritable { path: path.to_owned(), why });
        let in_place = request.output.is_none() && !request.options.check;
        let targets = Self {
            image: match request.output {
                Some(path) => Some(target(path)?),
                None if in_place => Some(target(request.file)?),
                None => None,
            },
            descriptor: request.descriptor.map(target).transpose()?,
            me: request.me.map(target).transpose()?,
        };
        // The input is a file of its own beside the outputs, unless it is edited in place.
        let input = if in_place { None } else { request.file.canonicalize().ok() };
        let named = [("-O", &targets.image), ("-D", &targets.descriptor), ("-M", &targets.me)];
        for (index, (flag, target)) in named.iter().enumerate() {
            let Some(target) = target else { continue };
            if input.as_ref().is_some_and(|input| *input == target.path()) {
                let why = format!("{flag} names the input; to edit it in place leave -O out");
                return Err(Failure::Usage(why));
            }
            let same = named.iter().take(index).find(|(_, other)| other.as_ref() == Some(target));
            if let Some((other, _)) = same {
                let other = if in_place && *other == "-O" { "the input" } else { other };
                return Err(Failure::Usage(format!("{flag} and {other} are the same file")));
            }
        }
        Ok(targets)
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, Likeness)> {
    let mut file: File = open_regular(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > LARGEST {
        return Err(io::Error::other(format!("larger than {LARGEST} bytes, so no flash dump")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    Read::by_ref(&mut file).take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok((bytes, Likeness { mode: metadata.mode(), owner: metadata.uid(), group: metadata.gid() }))
}

fn write(
    request: &Request<'_>,
    targets: &Targets,
    cleaned: &Cleaned,
    like: Likeness,
) -> Result<Vec<Written>, Failure> {
    let in_place = request.output.is_none();
    let mut outputs = Outputs::default();
    let mut written = Vec::new();
    // The image comes last: with it the old one is gone.
    for (what, target, bytes) in [
        ("descriptor", &targets.descriptor, cleaned.descriptor.as_deref()),
        ("me", &targets.me, cleaned.me.as_deref()),
        ("image", &targets.image, Some(cleaned.image.as_slice())),
    ] {
        let (Some(target), Some(bytes)) = (target, bytes) else { continue };
        let same = what == "image" && in_place;
        if same && !cleaned.changed {
            continue;
        }
        outputs
            .prepare(target, bytes, like, same)
            .map_err(|why| Failure::NotWritable { path: target.path(), why })?;
        written.push(Written { what, path: target.path() });
    }
    outputs.commit().map_err(|why| Failure::Torn { path: request.file.to_owned(), why })?;
    Ok(written)
}
