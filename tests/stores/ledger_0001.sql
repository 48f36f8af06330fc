PRAGMA application_id = 1366641772 ;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
	cost TEXT, 
	currency TEXT, 
	characters INTEGER, 
	text_clipped INTEGER NOT NULL, 
	error_kind TEXT, 
	phase TEXT NOT NULL, 
	elapsed_seconds FLOAT, 
	upstream_closed_ms FLOAT, 
	text TEXT, 
	PRIMARY KEY (uid)
);
INSERT INTO "generation" VALUES('over','acme','task-over','message-over','openai','/v1','openai',1000.0,'acme','one',NULL,'ann','{"team": "ä"}',NULL,NULL,NULL,1001.0,'cancelled',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'none',NULL,NULL,4,0,NULL,'finished',NULL,NULL,'kept');
INSERT INTO "generation" VALUES('ran','acme','task-ran','message-ran','openai','/v1','openai',1000.0,'acme','one',NULL,NULL,'{}',NULL,NULL,NULL,NULL,'running',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'none',NULL,NULL,NULL,0,NULL,'queued',NULL,NULL,NULL);
INSERT INTO "generation" VALUES('x','acme','task-x','message-x','openai','/v1','openai',1000.0,'acme','one',NULL,NULL,'{}',NULL,NULL,NULL,1002.0,'completed',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'none',NULL,NULL,NULL,0,NULL,'queued',NULL,NULL,NULL);
CREATE TABLE generation_text (
	uid TEXT NOT NULL, 
	"offset" INTEGER NOT NULL, 
	piece TEXT NOT NULL, 
	PRIMARY KEY (uid, "offset")
);
INSERT INTO "generation_text" VALUES('ran',0,'half an ');
INSERT INTO "generation_text" VALUES('ran',8,'answer');
CREATE INDEX generation_by_task_id ON generation (task_id, identity);
CREATE INDEX generation_by_message_id ON generation (message_id, identity);
CREATE INDEX generation_by_upstream_id ON generation (upstream_id, identity) WHERE upstream_id IS NOT NULL;
CREATE INDEX generation_by_start ON generation (started_at, uid);
CREATE INDEX generation_by_identity ON generation (identity, started_at, uid);
CREATE INDEX generation_by_end ON generation (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX generation_running ON generation (uid) WHERE outcome = 'running';
CREATE INDEX generation_with_text ON generation (ended_at) WHERE text IS NOT NULL;
COMMIT;
