cimport cython

from popular.pdm.chain cimport Asker
from popular.pdm.steps cimport Record
from supervisor.runtime.oftenlog cimport OftenLog
from supervisor.serving.counters cimport Counters
from supervisor.system cimport Observer

cdef dict _WORDS

cpdef str word_of(answer)

cdef class ModuleChain:
    cdef public Asker _asker
    cdef public Record _record
    cdef public Counters _counters
    cdef public OftenLog _log
    cdef public object _context, _heard, _queue
    cdef public dict _observers
    cdef public list _in_use, _on_trial
    cdef public set _tasks
    cdef public int _comparing
    cdef public bint _is_on_loop, answers_later
    cdef public long _threads
    @cython.locals(record=Record)
    cpdef ask(self, question, bint hide_unknown, str sid)
    cpdef tuple _ask_in_thread(self, question, bint hide_unknown, str sid)
    @cython.locals(observer=Observer)
    cdef _count(self, Record record)
