
PRAGMA application_id = 1366641772 ;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE consumer (
	name TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE deletion (
	token TEXT NOT NULL, 
	uid TEXT NOT NULL, 
	what TEXT NOT NULL, 
	generation TEXT, 
	PRIMARY KEY (token, uid)
);
CREATE TABLE generation (
	uid TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	task_id TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	route TEXT NOT NULL, 
	upstream TEXT NOT NULL, 
	started_at FLOAT NOT NULL, 
	key_id TEXT NOT NULL, 
	replica TEXT NOT NULL, 
	model TEXT, 
	user TEXT, 
	tags TEXT NOT NULL, 
	upstream_id TEXT, 
	upstream_model TEXT, 
	first_token_at FLOAT, 
	ended_at FLOAT, 
	outcome TEXT NOT NULL, 
	cause TEXT, 
	cancelled_by TEXT, 
	reason TEXT, 
	prompt_tokens INTEGER, 
	completion_tokens INTEGER, 
	cached_tokens INTEGER, 
	reasoning_tokens INTEGER, 
	usage_source TEXT NOT NULL, 
	cost INTEGER, 
	currency TEXT, 
	characters INTEGER, 
	text_clipped INTEGER NOT NULL, 
	error_kind TEXT, 
	phase TEXT NOT NULL, 
	elapsed_seconds FLOAT, 
	upstream_closed_ms FLOAT, 
	settlement TEXT NOT NULL, 
	price TEXT, 
	encoding TEXT, 
	max_tokens INTEGER, 
	late_tokens INTEGER, 
	saved_most INTEGER, 
	saved_typical INTEGER, 
	text TEXT, 
	PRIMARY KEY (uid)
);
INSERT INTO "generation" VALUES('ran','acme','task-ran','message-ran','openai','/v1','openai',1000.0,'acme','one',NULL,NULL,'{}',NULL,NULL,NULL,NULL,'running',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'none',NULL,NULL,NULL,0,NULL,'queued',NULL,NULL,'produced',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "generation" VALUES('over','acme','task-over','message-over','openai','/v1','openai',1000.0,'acme','r1',NULL,NULL,'{"team":"ä"}',NULL,NULL,NULL,1002.0,'completed',NULL,NULL,NULL,7,9,NULL,NULL,'upstream',2,'USD',NULL,0,NULL,'finished',NULL,NULL,'produced','{}',NULL,NULL,NULL,NULL,NULL,'kept');
CREATE TABLE generation_text (
	uid TEXT NOT NULL, 
	"offset" INTEGER NOT NULL, 
	piece TEXT NOT NULL, 
	PRIMARY KEY (uid, "offset")
);
INSERT INTO "generation_text" VALUES('ran',0,'half an ');
INSERT INTO "generation_text" VALUES('ran',8,'answer');
CREATE TABLE item (
	number INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	id TEXT NOT NULL, 
	thread_id TEXT, 
	parent TEXT, 
	created_at FLOAT NOT NULL, 
	is_open INTEGER NOT NULL, 
	is_interrupted INTEGER NOT NULL, 
	expires_at FLOAT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "item" VALUES(1,'iu','acme','dify','run','r1','t1',NULL,1000.0,1,0,NULL,'{"a":1}');
CREATE TABLE message (
	number INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	id TEXT NOT NULL, 
	thread_id TEXT, 
	user TEXT, 
	role TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	ended_at FLOAT, 
	ended_by TEXT, 
	status TEXT NOT NULL, 
	generation TEXT, 
	metadata TEXT NOT NULL, 
	content TEXT NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "message" VALUES(1,'53ef04a60289410d97f73735b433fc50-000000','acme','dify','over','t1',NULL,'user',1000.0,1001.0,NULL,'completed','g1','{}','[{"type": "text"}]','kept');
INSERT INTO "message" VALUES(2,'53ef04a60289410d97f73735b433fc50-000001','acme','dify','ran','t1',NULL,'assistant',1000.0,NULL,NULL,'in_progress','ran','{}','null','So: ');
INSERT INTO "message" VALUES(3,'53ef04a60289410d97f73735b433fc50-000002','acme','dify','alone',NULL,NULL,'assistant',1000.0,NULL,NULL,'in_progress',NULL,'{}','null','');
CREATE TABLE message_text (
	message TEXT NOT NULL, 
	"offset" INTEGER NOT NULL, 
	piece TEXT NOT NULL, 
	PRIMARY KEY (message, "offset")
);
INSERT INTO "message_text" VALUES('53ef04a60289410d97f73735b433fc50-000001',0,'half an ');
INSERT INTO "message_text" VALUES('53ef04a60289410d97f73735b433fc50-000001',8,'answer');
CREATE TABLE settled (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	uid TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	FOREIGN KEY(uid) REFERENCES generation (uid) ON DELETE CASCADE
);
INSERT INTO "settled" VALUES(1,'over',1);
INSERT INTO "settled" VALUES(2,'over',2);
CREATE TABLE thread (
	number INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	id TEXT NOT NULL, 
	user TEXT, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	name TEXT NOT NULL, 
	metadata TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "thread" VALUES(1,'2fe633a57be944afb68aa46919b15cbb','acme','dify','t1','ann',1000.0,1000.0,'Näme','{"team": "ä"}');
CREATE TABLE truth (
	uid TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	prompt_tokens INTEGER, 
	completion_tokens INTEGER, 
	cached_tokens INTEGER, 
	reasoning_tokens INTEGER, 
	cost INTEGER, 
	currency TEXT, 
	PRIMARY KEY (uid, revision), 
	FOREIGN KEY(uid) REFERENCES generation (uid) ON DELETE CASCADE
);
INSERT INTO "truth" VALUES('over',2,'upstream',1500.0,NULL,11,NULL,NULL,NULL,NULL);
CREATE UNIQUE INDEX thread_by_id ON thread (identity, dialect, id);
CREATE INDEX thread_by_uid ON thread (uid);
CREATE INDEX thread_by_change ON thread (identity, dialect, updated_at);
CREATE INDEX thread_by_user ON thread (identity, dialect, user, updated_at);
CREATE INDEX thread_by_age ON thread (updated_at);
CREATE UNIQUE INDEX message_by_id ON message (identity, dialect, id);
CREATE INDEX message_by_uid ON message (uid);
CREATE INDEX message_by_thread ON message (identity, dialect, thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX message_in_progress ON message (identity, dialect, thread_id) WHERE status = 'in_progress';
CREATE INDEX message_alone_by_end ON message (ended_at, created_at) WHERE thread_id IS NULL AND status <> 'in_progress';
CREATE UNIQUE INDEX item_by_id ON item (identity, dialect, kind, id);
CREATE INDEX item_by_uid ON item (uid);
CREATE INDEX item_by_parent ON item (identity, dialect, parent, kind);
CREATE INDEX item_by_thread ON item (identity, dialect, thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX item_by_expiry ON item (expires_at) WHERE is_open = 0 AND expires_at IS NOT NULL;
CREATE INDEX item_open ON item (identity, dialect, thread_id) WHERE is_open = 1;
CREATE INDEX generation_by_task_id ON generation (task_id, identity);
CREATE INDEX generation_by_message_id ON generation (message_id, identity);
CREATE INDEX generation_by_upstream_id ON generation (upstream_id, identity) WHERE upstream_id IS NOT NULL;
CREATE INDEX generation_by_start ON generation (started_at, uid);
CREATE INDEX generation_by_identity ON generation (identity, started_at, uid);
CREATE INDEX generation_by_end ON generation (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX generation_running ON generation (uid) WHERE outcome = 'running';
CREATE INDEX generation_with_text ON generation (ended_at) WHERE text IS NOT NULL;
CREATE UNIQUE INDEX settled_once ON settled (uid, revision);
CREATE INDEX generation_interrupted ON generation (uid) WHERE outcome = 'interrupted';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('settled',2);
COMMIT;
