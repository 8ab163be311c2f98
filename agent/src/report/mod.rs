//! What is told to people and programs about a run: all from one [`oob_policy::Report`], so that no two of them can
//! disagree.

mod html;
mod json;
mod plan;
mod remote;
mod table;
#[cfg(test)]
mod testing;
mod text;
mod verification;
mod words;

pub use html::html;
pub use json::json;
pub use plan::plan_text;
pub use remote::remote_text;
pub use table::facts_table;
pub use text::summary;
pub use verification::verification_text;
