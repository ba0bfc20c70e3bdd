//! tantivy: the JSON of each song is stored; its words, and the first one to three letters of each, are terms.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tantivy::collector::TopDocs;
use tantivy::query::{AllQuery, BooleanQuery, EnableScoring, Query, TermQuery};
use tantivy::schema::{
    FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value as _,
};
use tantivy::tokenizer::{AsciiFoldingFilter, LowerCaser, SimpleTokenizer, TextAnalyzer};
use tantivy::{
    DocAddress, DocSet, Index, IndexReader, IndexWriter, Order, ReloadPolicy, Searcher, TERMINATED,
    TantivyDocument, Term,
};

use crate::Failed;
use crate::collection::{self, Song};
use crate::question::{Answer, Engine, Question};

/// Bytes of memory that the writer of a build may take before it writes a segment.
const BUILD_MEMORY: usize = 100_000_000;
/// The least that tantivy allows.
const CHANGE_MEMORY: usize = 15_000_000;
/// Blocks of the store that a pass over all albums keeps.
const STORE_BLOCKS: usize = 1;

#[derive(Clone, Copy)]
struct Fields {
    id: Field,
    json: Field,
    words: Field,
    year: Field,
    artist: Field,
    genre: Field,
}

fn song_schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let terms = TextFieldIndexing::default()
        .set_tokenizer("whitespace")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let fields = Fields {
        id: schema.add_text_field("id", STRING),
        json: schema.add_text_field("json", STORED),
        words: schema.add_text_field("words", TextOptions::default().set_indexing_options(terms)),
        year: schema.add_i64_field("year", FAST),
        artist: schema.add_text_field("artist", STRING),
        genre: schema.add_text_field("genre", STRING),
    };
    (schema.build(), fields)
}

/// All terms of a text, with spaces between them.
fn terms(analyzer: &mut TextAnalyzer, text: &str) -> String {
    let mut terms = BTreeSet::new();
    let mut words = analyzer.token_stream(text);
    words.process(&mut |word| {
        let starts = word.text.char_indices().map(|(at, _)| at).skip(1).take(3);
        terms.extend(starts.map(|end| word.text[..end].to_owned()));
        terms.insert(word.text.clone());
    });
    terms.into_iter().collect::<Vec<_>>().join(" ")
}

fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default()).filter(LowerCaser).filter(AsciiFoldingFilter).build()
}

fn document(fields: Fields, analyzer: &mut TextAnalyzer, song: &Song) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_text(fields.id, &song.id);
    document.add_text(fields.json, &song.json);
    document.add_text(fields.words, terms(analyzer, &song.text));
    document.add_i64(fields.year, song.year);
    document.add_text(fields.artist, &song.artist);
    document.add_text(fields.genre, &song.genre);
    document
}

pub fn build(database: &Path, index: &Path) -> Result<(), Failed> {
    let (schema, fields) = song_schema();
    let mut analyzer = analyzer();
    make(&index.join("songs"), schema, |writer| {
        collection::songs(database, |song| {
            writer.add_document(document(fields, &mut analyzer, &song))?;
            Ok(())
        })
    })?;
    let mut schema = Schema::builder();
    let json = schema.add_text_field("json", STORED);
    make(&index.join("albums"), schema.build(), |writer| {
        collection::albums(database, |album| {
            let mut document = TantivyDocument::new();
            document.add_text(json, album);
            writer.add_document(document)?;
            Ok(())
        })
    })
}

/// An index of one segment, which answers quickest.
fn make(
    folder: &Path,
    schema: Schema,
    fill: impl FnOnce(&IndexWriter) -> Result<(), Failed>,
) -> Result<(), Failed> {
    std::fs::create_dir(folder)?;
    let index = Index::create_in_dir(folder, schema)?;
    let mut writer: IndexWriter = index.writer_with_num_threads(2, BUILD_MEMORY)?;
    fill(&writer)?;
    writer.commit()?;
    let segments = index.searchable_segment_ids()?;
    if segments.len() > 1 {
        writer.merge(&segments).wait()?;
    }
    writer.garbage_collect_files().wait()?;
    Ok(writer.wait_merging_threads()?)
}

pub struct Tantivy {
    index: Index,
    songs: IndexReader,
    albums: IndexReader,
    album_json: Field,
    fields: Fields,
    /// Made with the first change.
    writer: Mutex<Option<IndexWriter>>,
}

impl Tantivy {
    pub fn open(folder: &Path) -> Result<Self, Failed> {
        let index = Index::open_in_dir(folder.join("songs"))?;
        let albums = Index::open_in_dir(folder.join("albums"))?;
        let reader = |index: &Index| index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        Ok(Self {
            songs: reader(&index)?,
            album_json: albums.schema().get_field("json")?,
            albums: reader(&albums)?,
            index,
            fields: song_schema().1,
            writer: Mutex::new(None),
        })
    }

    fn query(&self, question: &Question) -> Box<dyn Query> {
        let words = question.words.iter().map(|word| (self.fields.words, word));
        let artist = question.artist.iter().map(|name| (self.fields.artist, name));
        let genre = question.genre.iter().map(|name| (self.fields.genre, name));
        let mut parts: Vec<Box<dyn Query>> = words
            .chain(artist)
            .chain(genre)
            .map(|(field, text)| Term::from_field_text(field, text))
            .map(|term| Box::new(TermQuery::new(term, IndexRecordOption::Basic)) as Box<dyn Query>)
            .collect();
        match parts.len() {
            0 => Box::new(AllQuery),
            1 => parts.remove(0),
            _ => Box::new(BooleanQuery::intersection(parts)),
        }
    }
}

/// The first documents in the order of the index: nothing is scored, and the search ends with the last of them.
fn first(searcher: &Searcher, query: &dyn Query, question: &Question) -> tantivy::Result<Vec<DocAddress>> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    let wanted = question.limit.map_or(usize::MAX, |limit| limit + question.offset);
    let mut found = Vec::new();
    for (number, segment) in (0..).zip(searcher.segment_readers()) {
        let mut documents = weight.scorer(segment, 1.0)?;
        let mut at = documents.doc();
        while at != TERMINATED && found.len() < wanted {
            if segment.alive_bitset().is_none_or(|alive| alive.is_alive(at)) {
                found.push(DocAddress::new(number, at));
            }
            at = documents.advance();
        }
    }
    Ok(found.split_off(question.offset.min(found.len())))
}

impl Engine for Tantivy {
    fn find(&self, question: &Question, answer: &mut Answer) -> Result<(), Failed> {
        if question.albums {
            for segment in self.albums.searcher().segment_readers() {
                let store = segment.get_store_reader(STORE_BLOCKS)?;
                for album in store.iter::<TantivyDocument>(segment.alive_bitset()) {
                    push(answer, &album?, self.album_json);
                }
            }
            return Ok(());
        }
        let searcher = self.songs.searcher();
        let query = self.query(question);
        let found = if question.by_year {
            let limit = question.limit.unwrap_or_else(|| searcher.num_docs() as usize).max(1);
            let pages = TopDocs::with_limit(limit).and_offset(question.offset);
            let found = searcher.search(&*query, &pages.order_by_fast_field::<i64>("year", Order::Asc))?;
            found.into_iter().map(|(_, at)| at).collect()
        } else {
            first(&searcher, &*query, question)?
        };
        for at in found {
            push(answer, &searcher.doc(at)?, self.fields.json);
        }
        Ok(())
    }

    fn change(&self, row: &Value) -> Result<(), Failed> {
        let song = Song::new(row);
        let mut kept = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = match &mut *kept {
            Some(writer) => writer,
            none => none.insert(self.index.writer_with_num_threads(1, CHANGE_MEMORY)?),
        };
        writer.delete_term(Term::from_field_text(self.fields.id, &song.id));
        writer.add_document(document(self.fields, &mut analyzer(), &song))?;
        writer.commit()?;
        Ok(self.songs.reload()?)
    }
}

fn push(answer: &mut Answer, document: &TantivyDocument, json: Field) {
    if let Some(json) = document.get_first(json).and_then(|json| json.as_str()) {
        answer.push(json);
    }
}
